import { createTheme, localStorageColorSchemeManager, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core';

/** The baton's blue, lightest first. */
const baton: MantineColorsTuple = [
  '#e9edff', '#cdd6ff', '#a9b8ff', '#8297ff', '#6480fb', '#4b68f5', '#3652ea', '#2340dc', '#1a31b4', '#14268c',
];

/** The red of what cannot be taken back, lightest first. */
const bad: MantineColorsTuple = [
  '#fdebe8', '#fad2cc', '#f5aaa0', '#ee7d70', '#e25547', '#d13a2b', '#c72d20', '#bd2418', '#9c1c12', '#7c140c',
];

/** The dark scheme's greys, cool like the paper they stand on; lightest first. */
const dark: MantineColorsTuple = [
  '#e9edf6', '#c5cddd', '#aeb8cb', '#8591a8', '#34405a', '#232c3e', '#161d2c', '#121826', '#0e1420', '#0a0e17',
];

/** The same key is read by public/scheme.js before the first paint. */
export const schemeManager = localStorageColorSchemeManager({ key: 'baton-color-scheme' });

export const theme = createTheme({
  primaryColor: 'baton',
  primaryShade: { light: 7, dark: 6 },
  colors: { baton, bad, dark },
  fontFamily: 'var(--font)',
  fontFamilyMonospace: 'var(--mono)',
  headings: { fontFamily: 'var(--font)', fontWeight: '650' },
  defaultRadius: 'md',
  radius: { xs: '4px', sm: '6px', md: '8px', lg: '12px', xl: '20px' },
  cursorType: 'pointer',
  respectReducedMotion: true,
  components: {
    // The library's small button is too small to read.
    Button: { defaultProps: { size: 'sm' }, styles: { label: { fontWeight: 600 } }, vars: (_theme: unknown, props: { size?: unknown }) => ({ root: props.size === 'xs' ? { '--button-fz': '13px', '--button-height': '32px' } : {} }) },
    InputWrapper: { defaultProps: { inputWrapperOrder: ['label', 'input', 'description', 'error'] }, styles: { label: { fontWeight: 550, marginBottom: 3 }, description: { fontSize: 12.5, lineHeight: 1.4, marginTop: 4, color: 'var(--ink-3)' }, error: { fontSize: 12.5, marginTop: 4 } } },
    Checkbox: { styles: { description: { fontSize: 12.5, lineHeight: 1.4, marginTop: 1 } } },
    Switch: { styles: { description: { fontSize: 12.5, lineHeight: 1.4, marginTop: 1 } } },
    Tooltip: { defaultProps: { withArrow: false, openDelay: 250, multiline: true, maw: 320, color: 'var(--ink)', events: { hover: true, focus: true, touch: true } }, styles: { tooltip: { color: 'var(--surface)', fontSize: 13, lineHeight: 1.4 } } },
    Modal: { defaultProps: { overlayProps: { backgroundOpacity: 0.45, blur: 2 }, transitionProps: { transition: 'fade', duration: 120 } } },
    Drawer: { defaultProps: { overlayProps: { backgroundOpacity: 0.35, blur: 1 }, transitionProps: { duration: 160 } } },
  },
});

const tokens = {
  '--mantine-color-body': 'var(--surface)',
  '--mantine-color-text': 'var(--ink)',
  '--mantine-color-bright': 'var(--ink)',
  '--mantine-color-dimmed': 'var(--ink-2)',
  '--mantine-color-default': 'var(--surface)',
  '--mantine-color-default-hover': 'var(--sunken)',
  '--mantine-color-default-border': 'var(--line-2)',
  '--mantine-color-default-color': 'var(--ink)',
  '--mantine-color-placeholder': 'var(--ink-3)',
  '--mantine-color-anchor': 'var(--baton-text)',
  '--mantine-color-error': 'var(--bad)',
  '--mantine-color-disabled': 'var(--unknown-tint)',
  '--mantine-color-disabled-color': 'var(--ink-3)',
  '--mantine-color-disabled-border': 'var(--line)',
  '--mantine-color-gray-light-color': 'var(--ink-2)',
  '--mantine-color-gray-light-hover': 'var(--unknown-tint)',
};

/** Lets the component library draw with the page's own tokens (base.css), in both schemes. */
export const resolver: CSSVariablesResolver = () => ({ variables: {}, light: tokens, dark: tokens });
