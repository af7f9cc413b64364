/* run_suite.h -- what a unit test file defines; main() is in run_suite.c. */
#ifndef RUN_SUITE_H
#define RUN_SUITE_H

#include <check.h>

/* The suite of this program. Tests are sentences of behaviour; tables of cases are loop tests. */
Suite *test_suite(void);

#endif
