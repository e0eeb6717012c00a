/* tests/fuzz/backup.c: a file that kflex restore is given. */
#include "base/mem.h"
#include "cli/backup_file.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char piece[KFX_BACKUP_PIECE];
    kfx_error_t err = KFX_ERROR_INIT;
    FILE *file = size ? fmemopen((void *)(uintptr_t)data, size, "rb") : NULL;
    kfx_backup_reader_t *reader = file ? kfx_backup_open(file, &err) : NULL;
    if (reader) {
        kfx_backup_record_t record;
        uint64_t bytes = 0;
        int rc;
        while ((rc = kfx_backup_next(reader, &record, &err)) == 1) {
            assert(record.key_len == strlen(record.key) && record.created >= 1 && record.created <= record.changed &&
                   record.changed <= kfx_backup_revision(reader));
            bytes += record.key_len + record.value_len;
            if (record.key_len % 2) /* else it is passed over */
                while (kfx_backup_piece(reader, piece, &err) > 0)
                    ;
        }
        assert(rc == 0 || err.code == KFX_E_INVALID);
        assert(rc != 0 || kfx_backup_sum(reader)->bytes == bytes);
    } else if (file) {
        assert(err.code == KFX_E_INVALID);
    }
    kfx_backup_close(&reader);
    if (file)
        fclose(file);
    return 0;
}
