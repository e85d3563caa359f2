// What the voice node heard, and what it made of it. An object that came of it can be taken back.
export function showHeard(section, list, lines, undo) {
  section.hidden = lines.length === 0;
  const known = new Map([...list.children].map((row) => [row.dataset.number, row]));
  for (const line of [...lines].reverse()) {
    const row = known.get(String(line.number)) ?? makeRow(line);
    known.delete(row.dataset.number);
    list.append(row);
    if (line.object_id && !row.querySelector("button")) row.append(makeUndo(line, undo));
  }
  for (const row of known.values()) row.remove();
}

function makeRow(line) {
  const row = document.createElement("li");
  row.dataset.number = line.number;
  const words = document.createElement("span");
  words.className = "words";
  words.textContent = line.words ? `“${line.words}”` : "(no words)";
  const meaning = document.createElement("span");
  meaning.textContent = line.understood ? `→ ${line.prompt}` : line.reason;
  if (!line.understood) meaning.className = "quiet";
  row.append(words, meaning);
  return row;
}

function makeUndo(line, undo) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Undo";
  button.setAttribute("aria-label", `Undo: remove ${line.prompt}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    const answer = await undo(line.object_id);
    if (answer.ok) button.replaceWith("undone");
    else button.disabled = false;
  });
  return button;
}
