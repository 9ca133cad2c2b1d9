// Begins the page: digits move at once, models come when the backend has answered.

import * as backend from "./backend.js";
import { recalled, remember } from "./address.js";
import { exampleFor } from "./examples.js";
import { startView } from "./view.js";

const $ = (id) => document.getElementById(id);

let began = 0; // when the status line changed

function say(words, wrong = false) {
  const line = $("status");
  if (line.textContent !== words) [line.textContent, began] = [words, Date.now()];
  line.hidden = !words;
  line.classList.toggle("wrong", wrong);
  delete line.dataset.seconds;
}

// The seconds of what is under way are shown by style.css, so that screen readers skip them.
setInterval(() => ($("status").dataset.seconds = Math.round((Date.now() - began) / 1000)), 1000);
const view = startView(say);
let models = [];
let own = null; // a visitor's recording

function show() {
  const name = recalled("model");
  const model = models.find((one) => one.name === name) ?? models[0];
  if (!model) return;
  $("model").value = model.name;
  $("model").title = model.title;
  const example = recalled("example", model.units ? "1" : "0") === "1";
  view.show(model, own ?? (example ? exampleFor(model) : null));
}

function choose(file, example) {
  own = file;
  remember({ example, after: "", time: "" });
  show();
}

$("model").addEventListener("change", () => {
  remember({ model: $("model").value });
  show();
});
$("digits").addEventListener("click", () => choose(null, "0"));
$("example").addEventListener("click", () => choose(null, "1"));
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  $("file").value = "";
  if (file) choose(file, "");
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) choose(file, "");
});

async function begin() {
  say("Loading the model …");
  try {
    models = await backend.models();
    $("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
    $("model").disabled = false;
    $("about").textContent = `Forecasts are made ${backend.about()}.`;
    say("");
    show();
  } catch (error) {
    say(`${error.message} Trying again …`, true);
    setTimeout(begin, 3000);
  }
}
begin();
