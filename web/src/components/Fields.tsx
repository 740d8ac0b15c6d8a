import { TextInput, type TextInputProps } from '@mantine/core';
import { useId, type ReactNode } from 'react';
import classes from './Fields.module.css';

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  onChange: (value: T) => void;
  options: readonly { value: T; title: string; consequence?: ReactNode; disabled?: boolean }[];
}

/** One of a few, each with the sentence that says what it brings. */
export function Choice<T extends string>({ label, value, onChange, options }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset className={classes.choice}>
      <legend>{label}</legend>
      {options.map((o) => (
        <label key={o.value} className={classes.option} data-on={o.value === value || undefined} data-off={o.disabled || undefined}>
          <input type="radio" name={name} value={o.value} checked={o.value === value} disabled={o.disabled} onChange={() => onChange(o.value)} />
          <span>
            <strong>{o.title}</strong>
            {o.consequence && <span className={classes.consequence}>{o.consequence}</span>}
          </span>
        </label>
      ))}
    </fieldset>
  );
}

/** A whole number; null while the field does not hold one. */
export function NumberField({ value, onChange, ...rest }: Omit<TextInputProps, 'value' | 'onChange' | 'type'> & { value: number | null; onChange: (value: number | null) => void }) {
  return (
    <TextInput
      {...rest}
      type="number"
      inputMode="numeric"
      value={value ?? ''}
      onChange={(e) => {
        const n = e.currentTarget.value === '' ? NaN : Number(e.currentTarget.value);
        onChange(Number.isFinite(n) ? n : null);
      }}
    />
  );
}

/** Fields side by side where there is room. */
export function FieldRow({ children }: { children: ReactNode }) {
  return <div className={classes.row}>{children}</div>;
}
