
(() => {
  "use strict";
  const { epochs, tables } = JSON.parse(document.getElementById("alphas").textContent);
  const slider = document.getElementById("moment");
  const cells = [...document.querySelectorAll("table.heat")].map((table) => [...table.querySelectorAll("td.w")]);
  const show = () => {
    const moment = Number(slider.value);
    document.getElementById("shown").textContent = epochs[moment];
    tables.forEach(({ most, values }, number) => {
      values[moment].flat().forEach((value, place) => {
        const level = value === null || most <= 0 ? 0 : Math.max(0, Math.min(20, Math.round((20 * value) / most)));
        const cell = cells[number][place];
        cell.textContent = value === null ? "" : value.toFixed(2);
        cell.className = `w h${level}${level > 11 ? " on" : ""}`;
      });
    });
  };
  slider.addEventListener("input", show);
  document.querySelector(".slider").hidden = epochs.length < 2;
  document.querySelector(".static").hidden = epochs.length > 1;
  show();
})();
