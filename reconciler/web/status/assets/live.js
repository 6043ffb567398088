// Keeps a page as the server would show it now. Without this script nothing is missing but that.
// It asks for the same address again, says which version it has, and exchanges only the parts that differ.
"use strict";

(() => {
  const POLL_MS = 5000;
  const LONGEST_MS = 60000;
  const link = document.getElementById("link");
  const spoken = document.getElementById("spoken");
  let version = null;
  let wait = POLL_MS;
  let timer = null;
  let looking = false;

  const parts = (root) => root.querySelectorAll("[data-live]");
  const summary = (root) => root.querySelector("[data-summary]")?.getAttribute("data-summary") ?? "";

  /** Put the focus back on what stands in the place of the element that had it. */
  function refocus(part, id, href) {
    const same = [part, ...part.querySelectorAll("a, button, [tabindex]")].find(
      (e) => (id && e.id === id) || (href && e.getAttribute("href") === href),
    );
    same?.focus({ preventScroll: true });
  }

  /** Whether both have the same parts, so that they can be exchanged one by one. */
  function alike(next) {
    const ids = (root) => [...parts(root)].map((part) => part.id).join(" ");
    return ids(document) === ids(next);
  }

  function exchange(next) {
    const before = summary(document);
    const main = document.getElementById("main");
    if (!alike(next)) {
      const had = main.contains(document.activeElement) ? document.activeElement : null;
      const fresh = document.adoptNode(next.getElementById("main"));
      main.replaceWith(fresh);
      if (had) refocus(fresh, had.id, had.getAttribute("href"));
    }
    for (const part of parts(document)) {
      const fresh = next.getElementById(part.id);
      if (!fresh || part.isEqualNode(fresh)) continue;
      const had = part.contains(document.activeElement) ? document.activeElement : null;
      const { scrollLeft, scrollTop } = part;
      part.replaceWith(document.adoptNode(fresh));
      fresh.scrollTo(scrollLeft, scrollTop);
      if (had) refocus(fresh, had.id, had.getAttribute("href"));
    }
    const after = summary(document);
    if (after !== before) spoken.textContent = after;
  }

  async function look() {
    if (looking) return;
    looking = true;
    clearTimeout(timer);
    try {
      const headers = { Accept: "text/html" };
      if (version) headers["If-None-Match"] = version;
      const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "error" });
      if (answer.status === 200) {
        version = answer.headers.get("ETag");
        exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } else if (answer.status !== 304) {
        throw new Error(`the server answered ${answer.status}`);
      }
      wait = POLL_MS;
      link.dataset.state = "live";
      link.textContent = "live";
    } catch (error) {
      wait = Math.min(2 * wait, LONGEST_MS);
      link.dataset.state = "lost";
      link.textContent = `not live, may be old: ${error.message}`;
    }
    looking = false;
    if (!document.hidden) timer = setTimeout(look, wait);
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look();
  });
  look();
})();
