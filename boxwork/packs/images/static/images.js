// Buttons that give an order: data-order is where, data-number what, data-sure what is asked before.
for (const button of document.querySelectorAll("button[data-order]")) {
  button.addEventListener("click", async () => {
    if (button.dataset.sure && !confirm(button.dataset.sure)) return;
    button.disabled = true;
    try {
      const order = button.dataset.number ? { number: Number(button.dataset.number) } : {};
      const reply = await fetch(button.dataset.order, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(order),
      });
      const answer = await reply.json();
      if (!reply.ok) throw new Error(answer.message);
      if (answer.id) location.href = button.dataset.order.replace(/[^/]+\/build$/, `builds/${answer.id}`);
      else location.reload();
    } catch (fault) {
      button.disabled = false;
      let said = button.parentElement.querySelector("[role=alert]");
      if (!said) {
        said = document.createElement("span");
        said.setAttribute("role", "alert");
        said.className = "tag bad";
        button.after(said);
      }
      said.textContent = fault.message;
    }
  });
}
