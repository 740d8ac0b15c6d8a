import '@xterm/xterm/css/xterm.css';
import { useComputedColorScheme } from '@mantine/core';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import { useEffect, useRef } from 'react';
import classes from './Terminal.module.css';
import { fontFamily, fontSize, themes } from './theme';

interface ScreenProps {
  label: string;
  /** Fits the size to the page; without it the terminal keeps the size it is given. */
  fit?: boolean;
  /** Called once, when the terminal is drawn; what it returns is called at the end. */
  onReady: (terminal: Terminal) => (() => void) | void;
  onSize?: (columns: number, rows: number) => void;
  /** Tab moves on in the page instead of being typed. */
  tabLeaves?: boolean;
  readOnly?: boolean;
}

/** A terminal's screen. Shift+F6 leaves it by keyboard. */
export function Screen({ label, fit = true, onReady, onSize, tabLeaves = false, readOnly = false }: ScreenProps) {
  const scheme = useComputedColorScheme('light');
  const box = useRef<HTMLDivElement>(null);
  const terminal = useRef<Terminal | null>(null);
  const now = useRef({ onReady, onSize, tabLeaves });
  now.current = { onReady, onSize, tabLeaves };
  const first = useRef(scheme);

  useEffect(() => {
    const place = box.current;
    if (!place) return;
    let done: (() => void) | void;
    let watch: ResizeObserver | null = null;
    let gone = false;
    const t = new Terminal({ fontFamily, fontSize, theme: themes[first.current], cursorBlink: true, scrollback: 5000, disableStdin: readOnly, screenReaderMode: true, convertEol: false });
    terminal.current = t;
    // Letters must be measured with the font they will have.
    void Promise.resolve(document.fonts?.load(`${fontSize}px 'JetBrains Mono'`)).catch(() => null).then(() => {
      if (gone) return;
      const fitting = new FitAddon();
      t.loadAddon(fitting);
      t.open(place);
      t.textarea?.setAttribute('aria-label', label);
      t.attachCustomKeyEventHandler((e) => {
        if (e.key === 'F6' && e.shiftKey) {
          if (e.type === 'keydown') place.parentElement?.querySelector<HTMLElement>('[data-after-terminal]')?.focus();
          return false;
        }
        return !(e.key === 'Tab' && now.current.tabLeaves);
      });
      if (fit) {
        const measure = () => {
          if (place.clientWidth > 0) fitting.fit();
        };
        measure();
        watch = new ResizeObserver(measure);
        watch.observe(place);
      }
      t.onResize((size) => now.current.onSize?.(size.cols, size.rows));
      done = now.current.onReady(t);
    });
    return () => {
      gone = true;
      watch?.disconnect();
      done?.();
      terminal.current = null;
      t.dispose();
    };
  }, [fit, label, readOnly]);

  useEffect(() => {
    first.current = scheme;
    if (terminal.current) terminal.current.options.theme = themes[scheme];
  }, [scheme]);

  return <div ref={box} className={classes.screen} data-fit={fit || undefined} data-testid="terminal-screen" />;
}
