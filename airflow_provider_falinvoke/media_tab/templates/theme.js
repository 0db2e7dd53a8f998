// As dark or as light as Airflow's page around this one; alone, as the system is.
(() => {
  let outer;
  try { outer = window.parent === window ? null : window.parent.document.documentElement; } catch { outer = null; }
  if (!outer) return;
  const follow = () => {
    const inner = document.documentElement;
    inner.dataset.theme = outer.classList.contains("dark") ? "dark" : "light";
    inner.style.setProperty("--ground", getComputedStyle(outer.querySelector("body")).backgroundColor);
  };
  follow();
  new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["class"] });
})();
