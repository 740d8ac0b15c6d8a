import { Button } from '@mantine/core';
import { Link, type ErrorComponentProps } from '@tanstack/react-router';
import { IconRefresh } from '@tabler/icons-react';
import { ToneIcon } from '../components/Badges';
import classes from '../components/Faces.module.css';

/** A part of the program that the control plane no longer has: it was updated while this page was open. */
const outdated = /dynamically imported module|importing a module script|error loading dynamically/i;

/** What stands in place of a page that failed by a fault of its own; the frame around it still works. */
export function BrokenPage({ error }: ErrorComponentProps) {
  const why = error instanceof Error ? error.message : String(error);
  const old = outdated.test(why);
  return (
    <div className={`card ${classes.error}`} role="alert" style={{ margin: '24px 0' }}>
      <ToneIcon tone={old ? 'warn' : 'bad'} size={22} />
      <div>
        <h2>{old ? 'The control plane was updated while this page was open' : 'This page failed by a fault of its own'}</h2>
        <p>{old ? 'Reload it to get the new one.' : 'Your clusters are not touched by it, and other pages work. Reload it; if it fails again, the command line shows the same.'}</p>
        {!old && <p className="quiet">{why}</p>}
        <div style={{ display: 'flex', gap: 10, marginTop: 12, flexWrap: 'wrap' }}>
          <Button size="xs" leftSection={<IconRefresh size={14} />} onClick={() => window.location.reload()}>
            Reload
          </Button>
          <Button size="xs" variant="default" component={Link} to="/clusters">
            Go to the clusters
          </Button>
        </div>
      </div>
    </div>
  );
}
