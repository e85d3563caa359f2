// Wires the page: what the server says goes to the views and lists, what a person does goes to the server.
import { showKnown } from "./known.js";
import { Link } from "./link.js";
import { Notices } from "./notices.js";
import { Objects } from "./objects.js";
import { showHeard } from "./heard.js";
import { Talk } from "./talk.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const SILENT_AFTER = 3; // s without a result until a picture is veiled

const views = new Map(); // by camera
const notices = new Notices($("notices"), undo);
const objects = new Objects($("objects"), $("no-objects"), order);
const talk = new Talk($("talk"), {
  send: (down) => order("talk", { down }),
  audio: (pcm) => link.sendAudio(pcm),
  say: (text) => notices.add(text, "error"),
});
const link = new Link({
  onOpen: () => setStatus("wait", "connected"),
  onPicture: (header, jpeg) => {
    const shown = () => link.send({ type: "shown", number: header.number });
    const view = views.get(header.camera);
    if (view) view.show(header, jpeg, shown);
    else shown();
  },
  onMessage: (message) => handlers[message.type]?.(message),
  onClosed: (reason) => {
    setStatus("error", reason);
    for (const view of views.values()) view.veil("no connection to the console");
    $("pause").hidden = $("not-that").hidden = true;
    talk.offer(false);
  },
});
let state = null;

const handlers = {
  state: (message) => {
    state = message;
    showTracker(message.tracker);
    arrangeViews(message.cameras);
    objects.update(message.cameras);
    talk.offer(message.voice.hears);
  },
  curves: (message) => {
    for (const [camera, points] of Object.entries(message.curves)) views.get(camera)?.showCurve(points);
  },
  heard: (message) => showHeard($("heard-section"), $("heard"), message.lines, undo),
  known: (message) => showKnown($("known-section"), message, order),
  refused: (message) => notices.add(message.message, "error"),
};

function showTracker(tracker) {
  const paused = tracker.there && !tracker.enabled && tracker.state === "active";
  if (!tracker.there) setStatus("error", "no tracker answers: is it running?");
  else if (!tracker.state) setStatus("wait", "waiting for the tracker's diagnostics");
  else if (paused) setStatus("warn", "paused: objects are kept, images are not processed");
  else setStatus(tracker.level, tracker.message || tracker.state);
  const button = $("pause");
  button.hidden = tracker.state !== "active" || !tracker.there;
  button.textContent = tracker.enabled ? "Pause" : "Resume";
  $("not-that").hidden = button.hidden;
  $("objects").classList.toggle("teachable", tracker.teaches);
}

function setStatus(level, text) {
  const status = $("status");
  if (status.dataset.level !== level) status.dataset.level = level;
  if (status.textContent !== text) status.textContent = text; // else a screen reader would read it again and again
}

function arrangeViews(cameras) {
  const names = cameras.map((camera) => camera.name);
  if ([...views.keys()].join("\n") !== names.join("\n") || views.size !== names.length) {
    for (const view of views.values()) view.element.remove();
    const before = new Map(views);
    views.clear();
    for (const name of names) {
      views.set(name, before.get(name) ?? new View(name, names.length > 1, onMark));
      $("views").append(views.get(name).element);
    }
  }
  for (const camera of cameras) {
    const view = views.get(camera.name);
    view.showFigures(camera);
    view.veil(whyVeiled(camera, view));
  }
}

function whyVeiled(camera, view) {
  const { tracker } = state;
  if (!tracker.there) return "no tracker answers";
  if (!tracker.enabled) return view.hasPicture ? "" : "paused";
  if (camera.silent_s === null) return "waiting for images";
  if (camera.silent_s > SILENT_AFTER) return `no result for ${Math.round(camera.silent_s)} s`;
  return "";
}

async function onMark(view, kind, fields) {
  const button = $("not-that");
  const notThat = button.getAttribute("aria-pressed") === "true";
  if (kind === "click" && notThat) fields.not_that = true;
  button.setAttribute("aria-pressed", "false");
  view.wait(true, fields.not_that);
  const answer = await order(kind, { camera: view.name, ...fields });
  view.wait(false);
  if (answer.ok && !answer.added) objects.flash(answer.object_id);
}

async function order(kind, fields) {
  const answer = await link.ask({ type: kind, ...fields });
  if (!answer.ok) notices.add(answer.message, "error");
  else if (answer.added) notices.add(answer.message, "done", answer.object_id);
  else if (answer.message && kind !== "say") notices.add(answer.message, "done");
  return answer;
}

function undo(id) {
  return order("remove", { id });
}

$("words").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = $("words-input");
  const text = input.value.trim();
  if (!text) return;
  const answer = await order("say", { text });
  if (answer.ok && input.value.trim() === text) input.value = "";
});

$("pause").addEventListener("click", () => order("enable", { on: !state.tracker.enabled }));

$("not-that").addEventListener("click", (event) => {
  const pressed = event.currentTarget.getAttribute("aria-pressed") === "true";
  event.currentTarget.setAttribute("aria-pressed", String(!pressed));
});

// A page in the background is sent no pictures.
document.addEventListener("visibilitychange", () => link.look(!document.hidden));
link.open();
