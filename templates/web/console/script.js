// Keeps a page up to date, says moments in the reader's own time, and copies. Everything works without it.
"use strict";

(() => {
  const localize = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) {
        time.textContent = at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      }
    }
  };

  // A form that somebody is filling in is left alone.
  const busy = (part) => {
    const active = document.activeElement;
    return part.contains(active) && active.matches("input, select, textarea");
  };

  let looking = false;
  let again = false;
  const look = async () => {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    try {
      const answer = await fetch(location.pathname + location.search.replace(/([?&])(done|account)=[^&]*/g, "$1"), {
        headers: { "x-console-live": "1" },
        credentials: "same-origin",
      });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const other = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
        if (!other || busy(part)) continue;
        localize(other);
        if (other.innerHTML === part.innerHTML) continue;
        const open = [...part.querySelectorAll("details")].map((details) => details.open);
        const focused = part.contains(document.activeElement) ? document.activeElement : null;
        const target = focused && (focused.getAttribute("href") || focused.textContent);
        part.replaceChildren(...other.childNodes);
        part.querySelectorAll("details").forEach((details, index) => {
          details.open = open[index] ?? details.open;
        });
        if (target) {
          const same = [...part.querySelectorAll("a, button, summary")];
          same.find((one) => (one.getAttribute("href") || one.textContent) === target)?.focus();
        }
      }
    } finally {
      looking = false;
      if (again) {
        again = false;
        look();
      }
    }
  };

  const watch = () => {
    const address = document.body.dataset.events;
    if (!address || !document.querySelector("[data-live]")) return;
    const events = new EventSource(address);
    let timer = 0;
    let lost = false;
    const soon = () => {
      timer ||= setTimeout(() => {
        timer = 0;
        look();
      }, 150);
    };
    events.addEventListener("changed", soon);
    events.addEventListener("error", () => {
      lost = true;
      if (events.readyState !== EventSource.CLOSED) return;
      // The session has ended, the daemon is away, or too many pages listen: the page finds out, and comes back.
      soon();
      setTimeout(watch, 60000);
    });
    events.addEventListener("open", () => {
      if (lost) soon();
      lost = false;
    });
    addEventListener("pagehide", () => events.close());
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    const field = button && document.getElementById(button.dataset.copy);
    if (!field) return;
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: copy it now";
    }
  });

  localize(document);
  watch();
})();
