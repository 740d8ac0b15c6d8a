import { ActionIcon, Tooltip } from '@mantine/core';
import { IconCheck, IconCopy } from '@tabler/icons-react';
import { useEffect, useRef, useState } from 'react';
import classes from './Copy.module.css';

/** Copies text; falls back to a selection where the page is not on a secure origin. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.style.position = 'fixed';
    area.style.opacity = '0';
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

/** How long the check mark stays. */
const confirmMs = 1500;

export function CopyButton({ value, label }: { value: string; label: string }) {
  const [state, setState] = useState<'idle' | 'copied' | 'failed'>('idle');
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const text = state === 'copied' ? 'Copied' : state === 'failed' ? 'Not copied: select it by hand' : label;
  return (
    <Tooltip label={text}>
      <ActionIcon
        variant="subtle"
        color="gray"
        size="md"
        aria-label={label}
        onClick={() => {
          void copy(value).then((done) => {
            setState(done ? 'copied' : 'failed');
            clearTimeout(timer.current);
            timer.current = setTimeout(() => setState('idle'), confirmMs);
          });
        }}
      >
        {state === 'copied' ? <IconCheck size={16} color="var(--ok)" /> : <IconCopy size={16} stroke={1.7} />}
        <span className="visually-hidden" aria-live="polite">
          {state === 'idle' ? '' : text}
        </span>
      </ActionIcon>
    </Tooltip>
  );
}

/** A command or address that can be copied. */
export function Command({ value, label = 'Copy', prompt = false }: { value: string; label?: string; prompt?: boolean }) {
  return (
    <span className={classes.command}>
      <code className={classes.text} data-prompt={prompt || undefined} tabIndex={0}>
        {value}
      </code>
      <CopyButton value={value} label={label} />
    </span>
  );
}

/** An act as a command line, under its button. */
export function CommandLine({ value }: { value: string }) {
  return (
    <div className={classes.line}>
      <span className="faint">The same from the command line</span>
      <Command value={value} prompt label="Copy as command line" />
    </div>
  );
}

/** An act as a command line, beside its button where there is no room for the line. */
export function CopyCommand({ value }: { value: string }) {
  return <CopyButton value={value} label="Copy as command line" />;
}
