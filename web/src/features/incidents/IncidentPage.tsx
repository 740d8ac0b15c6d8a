import { IconPrinter } from '@tabler/icons-react';
import { Button } from '@mantine/core';
import { getRouteApi, Link } from '@tanstack/react-router';
import { path } from '../../api/client';
import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { Incident } from '../../api/types';
import { Empty } from '../../components/Faces';
import { Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { dateTime, milliseconds } from '../../lib/format';
import classes from './IncidentPage.module.css';

const route = getRouteApi('/shell/clusters/$id/incidents/$op');

/** What happened before, during and after one operation, in the order it happened, on one page to read or print. */
export function IncidentPage() {
  const { id, op } = route.useParams();
  const incident = useGet<Incident>(keys.incident(id, op), path('clusters', id, 'incidents', op), { route: '/clusters/{id}/incidents/{operation}' });
  return (
    <QueryFaces query={incident} label="Loading the timeline" rows={6} height={44}>
      {(i) => {
        const entries = [...(i.entries ?? [])].sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
        if (entries.length === 0) {
          return (
            <Empty title="Nothing was recorded around this operation">
              <p className="quiet">The audit has the operation itself.</p>
            </Empty>
          );
        }
        const begin = Date.parse(entries[0]!.at);
        return (
          <Panel
            title={i.title}
            aside={
              <>
                <Link to="/clusters/$id/operations/$op" params={{ id, op }}>
                  The operation
                </Link>
                <Button variant="default" size="xs" leftSection={<IconPrinter size={14} />} onClick={() => window.print()}>
                  Print
                </Button>
              </>
            }
          >
            <ol className={classes.line}>
              {entries.map((e, n) => (
                <li key={`${e.at} ${n}`} className={classes.entry} data-kind={e.kind}>
                  <span className={`num ${classes.when}`}>
                    {dateTime(e.at)}
                    <span className="faint">{n === 0 ? 'begin' : `+${milliseconds(Date.parse(e.at) - begin)}`}</span>
                  </span>
                  <span className={classes.dot} aria-hidden="true" />
                  <span className={classes.what}>
                    {e.sentence}
                    <span className="faint">{e.kind.replaceAll('-', ' ')}</span>
                  </span>
                </li>
              ))}
            </ol>
          </Panel>
        );
      }}
    </QueryFaces>
  );
}
