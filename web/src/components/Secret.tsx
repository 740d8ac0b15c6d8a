import { Button, Checkbox } from '@mantine/core';
import { useState } from 'react';
import { Command } from './Copy';
import { Note } from './Faces';
import classes from './Secret.module.css';

interface SecretProps {
  title: string;
  /** Name and value of each part; shown once, in the order given. */
  parts: readonly (readonly [string, string])[];
  onStored: () => void;
  /** What the button says. */
  next?: string;
}

/** Something that is shown once. It cannot be left before one says that it is stored. */
export function SecretOnce({ title, parts, onStored, next = 'Done' }: SecretProps) {
  const [stored, setStored] = useState(false);
  return (
    <div className={classes.secret} data-testid="secret">
      <Note tone="warn" title={title}>
        <p>It is shown this once and kept nowhere in clear. Copy it to where you keep passwords.</p>
      </Note>
      {parts.map(([name, value]) => (
        <div key={name} className={classes.part}>
          <span>{name}</span>
          <Command value={value} label={`Copy ${name.toLowerCase()}`} />
        </div>
      ))}
      <Checkbox checked={stored} onChange={(e) => setStored(e.currentTarget.checked)} label="I have stored it" />
      <Button onClick={onStored} disabled={!stored} style={{ justifySelf: 'start' }}>
        {next}
      </Button>
    </div>
  );
}
