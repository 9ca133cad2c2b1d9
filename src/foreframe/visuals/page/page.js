// Begins the page: digits move at once, models come when the backend has answered.

import * as backend from "./backend.js";
import { recalled, remember } from "./address.js";
import { startDigits } from "./digits.js";
import { startRecording } from "./recording.js";

const $ = (id) => document.getElementById(id);

function say(words, wrong = false) {
  const line = $("status");
  if (line.textContent !== words) line.textContent = words;
  line.hidden = !words;
  line.classList.toggle("wrong", wrong);
}

const rooms = { digits: startDigits(say), recording: startRecording(say) };

const tabs = [...document.querySelectorAll("[role=tab]")];
function open(name) {
  for (const tab of tabs) {
    const mine = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !mine;
  }
  for (const [room, { setVisible }] of Object.entries(rooms)) setVisible(room === name);
  remember({ tab: name === "digits" ? "" : name });
}
for (const tab of tabs) {
  tab.addEventListener("click", () => open(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = tabs.find((one) => one !== tab);
    open(other.id.slice(4));
    other.focus();
  });
}
open(recalled("tab") === "recording" ? "recording" : "digits");

const select = $("model");
let models = [];
function choose(name) {
  const model = models.find((one) => one.name === name) ?? models[0];
  select.value = model.name;
  select.title = model.title;
  rooms.digits.use(model);
  rooms.recording.use(model);
}
$("reads").textContent = backend.reads;
select.addEventListener("change", () => {
  remember({ model: select.value });
  choose(select.value);
});

async function begin() {
  try {
    models = await backend.models();
    select.replaceChildren(...models.map(({ name }) => new Option(name, name)));
    select.disabled = false;
    $("about").textContent = `Forecasts are made ${backend.about()}.`;
    say("");
    choose(recalled("model"));
  } catch (error) {
    say(`${error.message} Trying again …`, true);
    setTimeout(begin, 3000);
  }
}
say("Loading the model …");
begin();
