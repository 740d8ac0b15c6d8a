import { Button, NativeSelect } from '@mantine/core';
import { IconPlayerPauseFilled, IconPlayerPlayFilled } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import type { Terminal } from '@xterm/xterm';
import { useEffect, useRef, useState } from 'react';
import { Command } from '../../components/Copy';
import { QueryFaces } from '../../components/QueryFaces';
import { dateTime } from '../../lib/format';
import { fetchRecording } from './queries';
import { between, parseRecording, type Recording } from './replay';
import { Screen } from './Screen';
import classes from './Terminal.module.css';

const route = getRouteApi('/shell/clusters/$id/terminal/$session');

/** What a terminal showed, again. */
export function ReplayPage() {
  const { id, session } = route.useParams();
  const query = useQuery({ queryKey: ['terminal-recording', session], queryFn: async ({ signal }) => parseRecording(await fetchRecording(session, signal)), staleTime: 10_000, retry: false });
  return (
    <>
      <p className={classes.back}>
        <Link to="/clusters/$id/terminal" params={{ id }}>
          All terminals of this cluster
        </Link>
      </p>
      <QueryFaces query={query} label="Loading the recording" rows={1} height={360}>
        {(recording) => <Player key={session} recording={recording} session={session} />}
      </QueryFaces>
    </>
  );
}

const clock = (seconds: number) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

function Player({ recording: r, session }: { recording: Recording; session: string }) {
  const [terminal, setTerminal] = useState<Terminal | null>(null);
  const [at, setAt] = useState(0);
  const [playing, setPlaying] = useState(true);
  const [speed, setSpeed] = useState(1);
  /** Up to where the screen has been drawn. */
  const drawn = useRef(-1);

  // Drawing follows the moment; going back draws all anew.
  useEffect(() => {
    if (!terminal) return;
    if (at < drawn.current) {
      terminal.reset();
      terminal.resize(r.columns, r.rows);
      drawn.current = -1;
    }
    for (const f of between(r, drawn.current, at)) {
      if (f.size) terminal.resize(f.size.columns, f.size.rows);
      else terminal.write(f.text);
    }
    drawn.current = at;
  }, [terminal, at, r]);

  useEffect(() => {
    if (!playing || !terminal) return;
    let last = performance.now();
    const tick = setInterval(() => {
      const now = performance.now();
      const passed = ((now - last) / 1000) * speed;
      last = now;
      setAt((old) => Math.min(r.length, old + passed));
    }, 40);
    return () => clearInterval(tick);
  }, [playing, speed, terminal, r.length]);

  const over = at >= r.length;
  useEffect(() => {
    if (over) setPlaying(false);
  }, [over]);

  return (
    <section aria-label="Recording">
      <div className={classes.player} data-testid="player" data-over={over || undefined}>
        <Button
          size="xs"
          leftSection={playing ? <IconPlayerPauseFilled size={14} aria-hidden /> : <IconPlayerPlayFilled size={14} aria-hidden />}
          onClick={() => {
            if (over) setAt(0);
            setPlaying(!playing);
          }}
        >
          {playing ? 'Pause' : over ? 'Again' : 'Play'}
        </Button>
        <input type="range" min={0} max={Math.max(r.length, 0.1)} step={0.1} value={at} aria-label="Moment" aria-valuetext={`${clock(at)} of ${clock(r.length)}`} onChange={(e) => setAt(Number(e.currentTarget.value))} />
        <span className="num faint">
          {clock(at)} / {clock(r.length)}
        </span>
        <NativeSelect size="xs" aria-label="Speed" data-after-terminal value={String(speed)} onChange={(e) => setSpeed(Number(e.currentTarget.value))} data={['0.5', '1', '2', '5', '20'].map((v) => ({ value: v, label: `${v}×` }))} />
        <Button size="xs" variant="default" onClick={() => setAt(r.length)}>
          To the end
        </Button>
      </div>
      <Screen
        label="Recorded terminal"
        fit={false}
        readOnly
        tabLeaves
        onReady={(t) => {
          t.resize(r.columns, r.rows);
          setTerminal(t);
          return () => setTerminal(null);
        }}
      />
      <p className={`quiet ${classes.foot}`}>
        {r.title}, {dateTime(new Date(r.began * 1000).toISOString())}. Waits of more than two seconds are shortened.
      </p>
      <Command value={`baton terminal replay ${session}`} prompt label="Copy as command line" />
    </section>
  );
}
