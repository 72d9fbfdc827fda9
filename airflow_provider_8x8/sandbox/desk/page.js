"use strict";

// Asks for this page every few seconds, and takes over the parts that have changed: but not under somebody's hands.
let seen = null;

function isInUse(part) {
  const selection = getSelection();
  return part.contains(document.activeElement) || (!selection.isCollapsed && part.contains(selection.anchorNode));
}

function takeOver(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  let all = true;
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other === null || part.isEqualNode(other)) continue;
    if (isInUse(part)) all = false;
    else part.replaceWith(document.adoptNode(other));
  }
  return all;
}

async function refresh() {
  try {
    if (document.hidden) return;
    const response = await fetch(location.href, { cache: "no-cache" });
    if (!response.ok) throw new Error(response.status);
    const html = await response.text();
    if (html !== seen && takeOver(html)) seen = html;
    document.body.classList.remove("stopped");
  } catch {
    document.body.classList.add("stopped");
  } finally {
    setTimeout(refresh, document.getElementById("counting") === null ? 3000 : 300);
  }
}

document.getElementById("fresh").hidden = false;
refresh();
