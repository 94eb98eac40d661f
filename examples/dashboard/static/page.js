// What moves: one stream for the page, charts of the rows in view, and more rows.
// Without this script every page works, and stands still.

const note = document.querySelector("#note");
const lost = "The dashboard does not answer. Is it still running?";

// -- the stream: pieces of HTML for places of the page, while anyone looks at it --

// A visitor who prefers less motion sees a place change every five seconds at most.
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const pieces = new Map();
const due = new Map();
let stream, timer;

function paint() {
  clearTimeout(timer);
  for (const [place, html] of pieces) {
    const node = document.getElementById(place);
    if (node?.contains(document.activeElement)) continue; // its turn comes later
    if (due.get(place) > performance.now()) continue;
    if (node) node.innerHTML = html;
    if (calm.matches) due.set(place, performance.now() + 5000);
    pieces.delete(place);
  }
  if (pieces.size) timer = setTimeout(paint, 1000);
}

function connect() {
  stream?.close();
  stream = undefined;
  const path = document.body.dataset.stream;
  if (!path || document.hidden) return;
  stream = new EventSource(path);
  stream.addEventListener("show", (event) => {
    for (const [place, html] of Object.entries(JSON.parse(event.data)))
      pieces.set(place, html);
    paint();
  });
  stream.addEventListener("end", finish);
  stream.addEventListener("error", () => note.textContent = lost);
  stream.addEventListener("open", () => {
    if (note.textContent === lost) note.textContent = "";
  });
}

// The session has ended: its page, as it is now, takes the place of this one.
async function finish() {
  stream?.close();
  const answer = await fetch(location.href).catch(() => ({}));
  if (!(answer.status < 502)) return setTimeout(finish, 5000);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (page.querySelector("#live")) return; // the stream has told why it stopped
  document.querySelector("main").replaceWith(page.querySelector("main"));
  document.title = page.title;
  delete document.body.dataset.stream;
  if (answer.ok) note.textContent = "The session has ended; the page shows its results.";
}

document.addEventListener("visibilitychange", connect);
addEventListener("pageshow", connect);
addEventListener("pagehide", () => stream?.close());

// -- charts: asked for while their row is in view, one request at a time --

const rows = new Map();
const failed = new Map(); // in view, too; one a minute is tried again, and then all
let isDrawing = false;

const view = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const id = target.dataset.row.split(".")[0];
    failed.delete(id);
    if (isIntersecting) rows.set(id, target);
    else rows.delete(id);
  }
  draw();
});

function retry(count) {
  for (const [id, row] of [...failed].slice(0, count)) {
    failed.delete(id);
    rows.set(id, row);
  }
  draw();
}

setInterval(() => document.hidden || retry(1), 60000);

async function draw() {
  if (isDrawing || !rows.size) return;
  isDrawing = true;
  let isWell = true;
  const asked = new Map([...rows].slice(0, 20));
  const query = [...asked.values()].map((row) => `row=${row.dataset.row}`).join("&");
  try {
    const answer = await fetch(`/charts?${query}`);
    if (!answer.ok) throw new Error(answer.statusText);
    for await (const line of lines(answer.body)) {
      if (line.note) note.textContent = line.note;
      for (const [id, html] of Object.entries(line.charts ?? {})) {
        const row = asked.get(id);
        row.innerHTML = html;
        asked.delete(id);
        const isInView = rows.delete(id);
        const isPassing = row.querySelector("[data-passing]");
        if (!isPassing) view.unobserve(row);
        else if (isInView) failed.set(id, row);
        isWell &&= !isPassing;
      }
    }
    if (asked.size) throw new Error("charts are missing");
    note.textContent = "";
  } catch {
    note.textContent = lost;
    await new Promise((resolve) => setTimeout(resolve, 5000));
  }
  isDrawing = false;
  retry(isWell ? failed.size : 0);
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

function observe(sparks) {
  for (const spark of sparks) view.observe(spark);
  const more = document.querySelector(".more a");
  if (more) end.observe(more);
}

// -- more rows: the next page is read when its link comes into view --

const end = new IntersectionObserver(async (entries) => {
  const { target, isIntersecting } = entries.at(-1); // as it is now
  if (!isIntersecting) return;
  end.unobserve(target);
  const answer = await fetch(target.href).catch(() => ({}));
  if (!answer.ok) return; // the link is still there to be pressed
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const hadFocus = document.activeElement === target;
  const found = page.querySelectorAll("main > .rows > li");
  const sparks = page.querySelectorAll("[data-row]");
  document.querySelector("main > .rows").append(...found);
  target.parentNode.replaceWith(page.querySelector(".more, .end, .empty"));
  if (hadFocus) found[0]?.querySelector("a").focus();
  observe(sparks);
}, { rootMargin: "600px" });

observe(document.querySelectorAll("[data-row]"));

// -- a page that tells of a passing problem asks again by itself --

const problem = document.querySelector("[data-retry]");
if (problem) setTimeout(() => location.reload(), 1000 * problem.dataset.retry);
