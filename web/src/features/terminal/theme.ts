import type { ITheme } from '@xterm/xterm';

/** The terminal's colors on each ground; every one has a contrast of at least 4.5 to 1. */
export const themes: Record<'light' | 'dark', ITheme> = {
  light: {
    background: '#f7f8fa', foreground: '#0f1728', cursor: '#2340dc', cursorAccent: '#ffffff', selectionBackground: '#c9d2ff',
    black: '#0f1728', red: '#b3261a', green: '#0b6b42', yellow: '#7d4700', blue: '#2340dc', magenta: '#8a1f8f', cyan: '#0a6576', white: '#46526a',
    brightBlack: '#5d6880', brightRed: '#bd2418', brightGreen: '#0b7a4b', brightYellow: '#945400', brightBlue: '#3e5bf5', brightMagenta: '#9c2aa1', brightCyan: '#0b7285', brightWhite: '#0f1728',
  },
  dark: {
    background: '#0e1420', foreground: '#e9edf6', cursor: '#97a8ff', cursorAccent: '#0a0e17', selectionBackground: '#34405a',
    black: '#98a3b8', red: '#ff8175', green: '#4bd09a', yellow: '#eeb550', blue: '#97a8ff', magenta: '#e79bea', cyan: '#6fd6e6', white: '#e9edf6',
    brightBlack: '#98a3b8', brightRed: '#ff9d93', brightGreen: '#74deb2', brightYellow: '#f4cb83', brightBlue: '#b4c0ff', brightMagenta: '#efb9f1', brightCyan: '#97e3ef', brightWhite: '#ffffff',
  },
};

export const fontFamily = "'JetBrains Mono', ui-monospace, 'SF Mono', Menlo, monospace";
export const fontSize = 13;
