-- Applies one report (channel, message, status, received_at) forward only: failed < delivered < read. `failed` stays
-- only if no better status comes.
INSERT INTO messages VALUES (?1, ?2, ?3, ?4, 1)
ON CONFLICT (channel_id, message_id) DO UPDATE SET
    reports = messages.reports + 1,
    (status, status_at) = (
        SELECT iif(better, excluded.status, messages.status),
               iif(better, excluded.status_at, messages.status_at)
        FROM (SELECT instr('failed delivered read', excluded.status)
                   > instr('failed delivered read', messages.status) AS better))
