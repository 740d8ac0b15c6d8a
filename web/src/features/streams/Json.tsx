import type { EventText } from '../../api/types';
import { jsonParts, laidOut } from './events';
import classes from './StreamsTab.module.css';

/** What an event or a state holds, laid out and coloured where it is JSON. */
export function Json({ value }: { value: EventText }) {
  const { text, note } = laidOut(value);
  return (
    <>
      <pre className={classes.json} tabIndex={0}>
        {jsonParts(text).map((p, i) => (
          <span key={i} data-kind={p.kind === 'plain' ? undefined : p.kind}>
            {p.text}
          </span>
        ))}
      </pre>
      {note && <p className="faint">{note}</p>}
    </>
  );
}
