/** The baton: a capsule with two bands, held at a slant. It marks the product and, on every page, the node that leads. */
export function BatonGlyph({ size = 16, className }: { size?: number; className?: string }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" className={className} aria-hidden="true" focusable="false">
      <g transform="rotate(-38 12 12)" fill="currentColor">
        <path d="M3 8.75h3.2v6.5H4.25A3.25 3.25 0 0 1 1 12a3.25 3.25 0 0 1 3.25-3.25Z" transform="translate(-.6 0)" />
        <rect x="7.6" y="8.75" width="8.8" height="6.5" />
        <path d="M18 8.75h1.75a3.25 3.25 0 0 1 0 6.5H18Z" transform="translate(.4 0)" />
      </g>
    </svg>
  );
}

export function Logo({ size = 26 }: { size?: number }) {
  return (
    <span style={{ display: 'inline-flex', alignItems: 'center', gap: size * 0.36, fontWeight: 750, fontSize: size * 0.74, letterSpacing: '-0.02em', lineHeight: 1 }}>
      <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
        <rect width="32" height="32" rx="8.5" fill="var(--baton)" />
        <g transform="rotate(-38 16 16)">
          <rect x="4.5" y="12" width="23" height="8" rx="4" fill="var(--on-baton)" />
          <rect x="9.6" y="12" width="2.8" height="8" fill="var(--baton)" />
          <rect x="19.6" y="12" width="2.8" height="8" fill="var(--baton)" />
        </g>
      </svg>
      Baton
    </span>
  );
}
