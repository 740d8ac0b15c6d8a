import { Modal } from '@mantine/core';
import dialog from './ActionDialog.module.css';
import { useReturnFocus } from './returnFocus';
import { SecretOnce } from './Secret';

/** SecretOnce over the page; neither Escape nor a click outside closes it. */
export function SecretDialog({ title, parts, onClose }: { title: string; parts: readonly (readonly [string, string])[]; onClose: () => void }) {
  useReturnFocus();
  return (
    <Modal opened onClose={() => {}} withCloseButton={false} closeOnEscape={false} closeOnClickOutside={false} size={560} radius={14} padding={24} title={<span className={dialog.title}>{title}</span>}>
      <SecretOnce title="Store this now" parts={parts} onStored={onClose} />
    </Modal>
  );
}
