"use strict";

// Asks for the counts every few seconds, and for the page only when they have changed.
let seen = null;

async function text(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(response.status);
  return response.text();
}

async function refresh() {
  if (document.hidden) return;
  try {
    const counts = await text("/sandbox/stats");
    if (seen !== null && counts !== seen) {
      const page = new DOMParser().parseFromString(await text("/sandbox"), "text/html");
      document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
    }
    seen = counts;
    document.body.classList.remove("stopped");
  } catch {
    document.body.classList.add("stopped");
  }
}

refresh();
setInterval(refresh, 3000);
