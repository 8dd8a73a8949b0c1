// Comfort for the console: every page works without it. It shows times in the
// viewer's zone, counts down, asks in a dialog in place of a page, watches over
// the session, and follows receipts. Nothing here keeps a session alive but the
// button that says so.
"use strict";
(() => {
	const all = (selector, root = document) => [...root.querySelectorAll(selector)];
	const body = document.body;
	// Where the console is: another path than / behind some proxies.
	const base = new URL(document.currentScript.src).pathname.replace(/\/assets\/[^/]*$/, "");

	// How long ago the page was made: of the navigation itself, so that the
	// browser's own clock does not matter.
	const navigation = performance.getEntriesByType("navigation")[0];
	const made = navigation ? navigation.responseStart : performance.now();

	// --- Words for time, as the server has them -----------------------------

	const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
	const count = (n, unit) => n + " " + unit + (n === 1 ? "" : "s");
	const duration = (seconds) => {
		const parts = [];
		for (const [unit, size] of units) {
			const n = Math.floor(seconds / size);
			if (n > 0) parts.push(count(n, unit));
			seconds -= n * size;
		}
		return parts.join(" ") || "0 seconds";
	};
	// As people would say it, as far as it matters.
	const roughly = (seconds) => {
		const to = (size) => Math.round(seconds / size) * size;
		if (to(3600) >= 172800) return duration(to(86400));
		if (to(60) >= 36000) return duration(to(3600));
		return duration(seconds >= 600 ? to(60) : seconds);
	};
	const about = (seconds) => {
		if (seconds < 60) return count(Math.floor(seconds), "second");
		if (seconds < 3600) return count(Math.floor(seconds / 60), "minute");
		if (seconds < 172800) return count(Math.floor(seconds / 3600), "hour");
		return count(Math.floor(seconds / 86400), "day");
	};
	const nearest = (seconds) => {
		const size = seconds < 60 ? 1 : seconds < 3600 ? 60 : seconds < 172800 ? 3600 : 86400;
		return Math.round(seconds / size) * size;
	};
	const ago = (then) => {
		const seconds = (Date.now() - then) / 1000;
		if (seconds < -5) return "in " + about(nearest(-seconds));
		return seconds < 10 ? "just now" : about(seconds) + " ago";
	};
	const exactFormat = new Intl.DateTimeFormat("en-GB", {
		day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
	});
	// A Date has milliseconds; the last three digits are taken from the text.
	const exact = (iso, micro) => exactFormat.formatToParts(new Date(iso)).map((part) =>
		part.type === "second" && micro ? part.value + "." + iso.slice(20, 26) : part.value).join("");

	const times = (root = document) => {
		for (const t of all("time[datetime]:not([data-clock])", root)) {
			const then = Date.parse(t.dateTime);
			if (Number.isNaN(then)) continue;
			if ("utc" in t.dataset) {
				t.title = ago(then) + ": " + exact(t.dateTime);
			} else if ("ago" in t.dataset) {
				t.textContent = ago(then);
				t.title = exact(t.dateTime);
			} else {
				t.textContent = exact(t.dateTime, "micro" in t.dataset);
				t.title = ago(then);
			}
		}
	};
	// The chart: its labels and what a bar says.
	const timeOfDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
	const day = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
	const partFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
	for (const label of all("[data-time]")) label.textContent = timeOfDay.format(new Date(label.dataset.time));
	// A day of UTC is named after the day here that most of it belongs to.
	for (const label of all("[data-day]")) label.textContent = day.format(Date.parse(label.dataset.day) + 12 * 3600000);
	for (const bar of all("title[data-at]")) bar.textContent = partFormat.format(new Date(bar.dataset.at)) + ": " + bar.dataset.count;
	for (const note of all(".utc")) {
		note.textContent = "Times are in " + Intl.DateTimeFormat().resolvedOptions().timeZone + ".";
	}
	times();
	setInterval(times, 30000);

	// The server has only headers to go by, and a proxy may have said nothing of TLS.
	if (location.protocol === "https:") for (const plain of all("[data-plain]")) plain.remove();

	// --- The session --------------------------------------------------------

	const bar = document.getElementById("session");
	// The bar covers neither the end of the page nor what has the focus.
	const makeRoom = () => document.documentElement.style.setProperty("--bar", Math.ceil(bar.getBoundingClientRect().height) + "px");
	new ResizeObserver(makeRoom).observe(bar); // when the window changes
	let state = "idle" in body.dataset ? "live" : "none";
	let idleEnd = made + Number(body.dataset.idle);
	let maximumEnd = made + Number(body.dataset.maximum);
	const idles = () => Number(body.dataset.idle) >= 0;
	const end = () => idles() ? Math.min(idleEnd, maximumEnd) : maximumEnd;

	const button = (text, action) => {
		const b = document.createElement("button");
		b.type = "button";
		b.className = "small";
		b.textContent = text;
		b.addEventListener("click", action);
		return b;
	};
	let said = "";
	const say = (text, over, ...actions) => {
		if (said === text) return;
		said = text;
		const words = document.createElement("span");
		words.textContent = text;
		bar.replaceChildren(words, ...actions);
		bar.classList.toggle("over", over);
		bar.hidden = false;
		makeRoom();
	};
	const hush = () => { said = ""; bar.hidden = true; };

	const ended = (why) => {
		state = "ended";
		const again = document.createElement("a");
		again.className = "button small";
		again.href = base + "/sign-in?return=/signed-in";
		again.target = "_blank";
		again.rel = "noopener";
		again.textContent = "Sign in again in a new tab";
		say(why + " Your input on this page is kept.", true, again);
	};

	const take = (s) => {
		if (s.state === "unknown") return;
		if (s.state === "ended") { ended(s.why); return; }
		if (s.user !== body.dataset.user) {
			state = "other";
			say("You are now signed in as " + s.name + ". This page belongs to another user.", true, button("Reload", () => location.reload()));
			return;
		}
		state = "live";
		body.dataset.idle = s.idle_ms;
		idleEnd = performance.now() + s.idle_ms;
		maximumEnd = performance.now() + s.maximum_ms;
		hush();
		tick();
	};
	let asking = false;
	const ask = async (options) => {
		if (asking || state === "none") return;
		asking = true;
		try {
			const answer = await fetch(base + "/profile/session", { headers: { Accept: "application/json" }, cache: "no-store", ...options });
			if ((answer.headers.get("Content-Type") || "").startsWith("application/json")) take(await answer.json());
		} catch { /* no network: the local clocks still count down */ } finally { asking = false; listen(); }
	};
	const stay = () => ask({ method: "POST" }).then(() => ask());

	const clocks = () => all("[data-clock]");
	let askedAtEnd = 0;
	function tick() {
		if (state !== "live") return;
		const now = performance.now();
		for (const clock of clocks()) {
			const at = clock.dataset.clock === "idle" ? idleEnd : maximumEnd;
			const seconds = Math.max(0, Math.ceil((at - now) / 1000));
			if (clock.dateTime === "PT" + seconds + "S") continue;
			clock.dateTime = "PT" + seconds + "S";
			clock.title = duration(seconds);
			clock.textContent = roughly(seconds);
		}
		const left = end() - now;
		if (left <= 0) {
			// The server decides; another tab may have gone on meanwhile. Dates are
			// whole seconds there, so it may take one more.
			if (now - askedAtEnd > 500) { askedAtEnd = now; ask(); }
			return;
		}
		const timeout = idles() && idleEnd < maximumEnd;
		if (timeout && left < Math.min(60000, warnFrom)) {
			say("Your session times out soon for lack of activity.", false, button("Stay signed in", stay));
		} else if (!timeout && left < 60000) {
			say("Your session is about to reach the maximum session duration. Save your work.", false);
		}
	}
	const warnFrom = Number(body.dataset.idle) / 4 || 0;
	// The server says when the session ends. Only a visible page listens: a browser
	// opens few connections to one host, and every tab would hold one. The browser
	// reconnects by itself unless the server refuses the stream; the page then asks,
	// and tries again after 5 s.
	let events = null;
	const listen = () => {
		const wanted = !document.hidden && state === "live";
		if (!wanted && events) {
			events.close();
			events = null;
		}
		if (!wanted || events) return;
		const source = events = new EventSource(base + "/v1/session/events");
		const forget = () => { if (events === source) events = null; };
		source.addEventListener("ended", () => { source.close(); forget(); ask(); });
		source.addEventListener("error", () => {
			if (source.readyState !== EventSource.CLOSED) return;
			ask();
			setTimeout(() => { forget(); listen(); }, 5000);
		});
	};
	// Another tab may have signed in or out, or renewed the session: each page tells
	// the others when it has loaded.
	const others = new BroadcastChannel("session " + base);
	others.postMessage("loaded");
	if (state !== "none") {
		const look = () => { if (document.hidden) listen(); else ask(); };
		others.addEventListener("message", look);
		document.addEventListener("visibilitychange", look);
		setInterval(tick, 250);
		listen();
		tick();
	}
	// A page that the browser restores from memory may belong to a user who has
	// signed out since.
	addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });

	// --- Receipts -----------------------------------------------------------

	const follow = (place) => {
		const inner = place.querySelector("[data-epoch]");
		if (!inner || "done" in inner.dataset) return;
		setTimeout(async () => {
			if (!document.hidden) try {
				const answer = await fetch(place.dataset.receipt, { cache: "no-store" });
				if (answer.ok && !answer.redirected) {
					const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-epoch]");
					// Screen readers announce changes only.
					if (next && next.innerHTML !== place.dataset.last) {
						place.dataset.last = next.innerHTML;
						place.replaceChildren(document.adoptNode(next));
						times(place);
					}
				}
			} catch { /* the next time */ }
			follow(place);
		}, 1000);
	};
	const receipts = (root) => { for (const place of all("[data-receipt]", root)) follow(place); };
	receipts(document);

	// --- Dialogs in place of pages -------------------------------------------

	const dialog = document.createElement("dialog");
	dialog.setAttribute("aria-labelledby", "dialog-title");
	body.append(dialog);
	const show = async (address, instead) => {
		let main = null;
		try {
			const answer = await fetch(address, { cache: "no-store" });
			// Any other answer, such as a redirect, is loaded as a page.
			if (answer.ok && !answer.redirected) {
				main = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
			}
		} catch { /* as a page */ }
		if (!main || !main.querySelector("form.confirm")) { instead(); return; }
		const inner = document.createElement("div");
		inner.className = "body";
		inner.append(...main.childNodes);
		inner.querySelector("h1").id = "dialog-title";
		// The first thing to choose in a dialog is no way out of it.
		for (const step of all(".trail a", inner)) step.replaceWith(...step.childNodes);
		for (const cancel of all("[data-cancel]", inner)) {
			cancel.addEventListener("click", (e) => { e.preventDefault(); dialog.close(); });
		}
		dialog.replaceChildren(document.adoptNode(inner));
		times(dialog);
		dialog.showModal();
	};
	for (const link of all("a[data-dialog]")) {
		link.addEventListener("click", (e) => {
			if (e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
			e.preventDefault();
			show(link.href, () => location.assign(link.href));
		});
	}
	for (const form of all("form[data-dialog]")) {
		form.addEventListener("submit", (e) => {
			e.preventDefault();
			const address = form.action + "?" + new URLSearchParams(new FormData(form));
			show(address, () => form.submit());
		});
	}

	// --- Small things --------------------------------------------------------

	for (const b of all("[data-copy]")) {
		if (!navigator.clipboard) continue;
		b.hidden = false;
		b.addEventListener("click", async () => {
			await navigator.clipboard.writeText(document.getElementById(b.dataset.copy).textContent);
			const before = b.textContent;
			b.textContent = "Copied";
			setTimeout(() => { b.textContent = before; }, 2000);
		});
	}
	// The page of a secret is the answer to a form: loaded again, it gives way to another page.
	const secret = document.querySelector("[data-instead]");
	if (secret) history.replaceState(history.state, "", secret.dataset.instead);
	// A tap on a text that is cut shows the row whole, and another tap ends that.
	for (const table of all(".list")) {
		table.addEventListener("click", (e) => {
			const text = e.target.closest(".cut, .rest");
			if (!text || e.target.closest("a, button, details") || !getSelection().isCollapsed) return;
			const row = text.closest("tr");
			row.classList.toggle("whole", !row.classList.contains("whole") && text.scrollWidth > text.clientWidth);
		});
	}
	// The documentation leads back to the page that the user came from, from topic to topic.
	for (const way of all(".way-back")) {
		const link = way.querySelector("a");
		const key = "back " + base;
		if (!way.hidden) {
			sessionStorage.setItem(key, JSON.stringify([body.dataset.user, link.getAttribute("href"), link.textContent]));
			continue;
		}
		const [user, href, words] = JSON.parse(sessionStorage.getItem(key) || "[]");
		if (!href || user !== body.dataset.user) continue;
		link.setAttribute("href", href);
		link.textContent = words;
		way.hidden = false;
	}
	for (const b of all("[data-print]")) {
		b.hidden = false;
		b.addEventListener("click", () => print());
	}
	// A duration as the server reads it: 1200, 20m, 1h 30m, 20 days.
	const typedSeconds = (text) => {
		let rest = text.trim().toLowerCase();
		if (/^[0-9]{1,15}$/.test(rest)) return Number(rest);
		let total = 0;
		const used = new Set();
		while (rest) {
			const m = /^([0-9]{1,15}) ?(seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d),? */.exec(rest);
			if (!m || used.has(m[2][0])) return null;
			total += Number(m[1]) * { s: 1, m: 60, h: 3600, d: 86400 }[m[2][0]];
			used.add(m[2][0]);
			rest = rest.slice(m[0].length);
		}
		return used.size ? total : null;
	};
	for (const output of all("[data-words]")) {
		const input = document.getElementById(output.dataset.words);
		input.addEventListener("input", () => {
			const seconds = typedSeconds(input.value);
			output.textContent = seconds === null ? "" : "— " + duration(seconds);
		});
	}
	for (const menu of all("details:is(.account, .more)")) {
		// A dialog gives the focus back to the entry of the menu that has opened it.
		document.addEventListener("click", (e) => { if (!menu.contains(e.target) && !dialog.contains(e.target)) menu.open = false; });
		menu.addEventListener("keydown", (e) => {
			if (e.key === "Escape" && menu.open) { menu.open = false; menu.querySelector("summary").focus(); }
		});
	}
	for (const field of all("[data-chooses]")) {
		const choice = field.form.querySelector("input[type=radio][value=" + field.dataset.chooses + "]");
		field.addEventListener("input", () => { if (field.value) choice.checked = true; });
	}
	// The details of a reason, in dialogs too: to type them is to choose "Other", which
	// requires them.
	const why = (e) => {
		const form = e.target.form;
		const note = form && form.querySelector("#note");
		const other = note && form.querySelector("input[name=reason][value=Other]");
		if (!other) return;
		if (note.value && !form.querySelector("input[name=reason]:checked")) other.checked = true;
		note.required = other.checked;
	};
	document.addEventListener("input", why);
})();
