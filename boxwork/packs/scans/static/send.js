// Sends the scan that was chosen, and goes to its page.
const form = document.getElementById("send");

if (form) {
  const said = document.getElementById("said");
  const input = document.getElementById("file");

  const send = async (file) => {
    said.className = "";
    said.textContent = `Sending ${file.name}…`;
    input.disabled = true;
    try {
      const answer = await fetch(`${form.dataset.to}?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.message);
      said.textContent = "It is here; converting and measuring…";
      location.assign(told.page);
    } catch (fault) {
      said.className = "fault";
      said.textContent = fault.message;
      input.disabled = false;
      input.value = "";
    }
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("change", () => input.files.length && send(input.files[0]));
  form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}
