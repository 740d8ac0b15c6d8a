// Sets the color scheme before the first paint, so that the page never
// flashes in the wrong one. A file of its own, because the content security
// policy refuses inline script. The key is the one src/app/theme.ts uses.
(function () {
  var choice = 'auto';
  try {
    choice = localStorage.getItem('baton-color-scheme') || 'auto';
  } catch (e) {
    // Storage is off: follow the system.
  }
  var dark = choice === 'dark' || (choice !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light');
})();
