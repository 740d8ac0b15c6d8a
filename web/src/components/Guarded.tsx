import { Button, Tooltip, type ButtonProps } from '@mantine/core';
import { useId, type MouseEventHandler, type ReactNode } from 'react';

type GuardedProps = ButtonProps & { why: string | null; onClick: MouseEventHandler<HTMLButtonElement>; children: ReactNode; 'aria-label'?: string };

/** A button that, where it would be refused, stays in place and says why: on hover, on focus and to screen readers. */
export function Guarded({ why, onClick, children, ...rest }: GuardedProps) {
  const id = useId();
  if (why === null) {
    return (
      <Button {...rest} onClick={onClick}>
        {children}
      </Button>
    );
  }
  return (
    <>
      <Tooltip label={why} multiline w={280} withArrow events={{ hover: true, focus: true, touch: true }}>
        {/* aria-disabled and not disabled: what cannot be reached cannot explain itself. */}
        <Button {...rest} data-disabled aria-disabled aria-describedby={id} onClick={(e) => e.preventDefault()}>
          {children}
        </Button>
      </Tooltip>
      <span id={id} hidden>
        {why}
      </span>
    </>
  );
}
