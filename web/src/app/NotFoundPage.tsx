import { Link } from '@tanstack/react-router';
import { Logo } from '../components/Logo';

export function NotFoundPage() {
  return (
    <main style={{ padding: '12vh 24px', maxWidth: 520, margin: '0 auto', display: 'grid', gap: 16 }}>
      <Logo />
      <h1 style={{ fontSize: 24, lineHeight: 1.25 }}>There is no page at this address</h1>
      <p className="quiet">The cluster or operation may have been removed, or the link is mistyped.</p>
      <p>
        <Link to="/clusters">Go to the clusters</Link>
      </p>
    </main>
  );
}
