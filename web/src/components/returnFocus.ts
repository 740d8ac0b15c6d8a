import { useEffect, useState } from 'react';

/** What has the focus, or, within a menu that is about to close, the button that opened it. */
function present(): HTMLElement | null {
  const on = document.activeElement;
  const menu = on?.closest('[role=menu]');
  const opener = menu ? document.getElementById(menu.getAttribute('aria-labelledby') ?? '') : on;
  return opener instanceof HTMLElement ? opener : null;
}

/**
 * Gives the focus back to where it was before the part that uses this was
 * shown, once that part is gone. For dialogs that are taken away whole: the
 * library's own return of the focus works only for those that stay and close.
 * Where what had the focus is gone as well, the page's content gets it.
 */
export function useReturnFocus(): void {
  const [before] = useState(present);
  useEffect(
    () => () => {
      setTimeout(() => {
        if (document.activeElement !== null && document.activeElement !== document.body) return;
        const to = before?.isConnected && before !== document.body ? before : document.getElementById('content');
        to?.focus({ preventScroll: true });
      });
    },
    [before],
  );
}
