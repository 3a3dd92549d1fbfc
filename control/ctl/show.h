// How weirctl shows an answer to people: one function a command, in tables that fit 100 columns. What a machine should
// read is --json.
#ifndef WEIR_CTL_SHOW_H
#define WEIR_CTL_SHOW_H

#include <jansson.h>

void weir_show_status(const json_t *status);
void weir_show_ledger(const json_t *ledger);
void weir_show_plan(const json_t *plan);
void weir_show_outcome(const json_t *outcome);

#endif
