/* main() of every unit test program: runs the suite that the test file defines.
 *
 * CK_RUN_CASE and the other variables of libcheck work as usual.
 */
#include "tests/support/run_suite.h"

#include <stdlib.h>

int main(void) {
    SRunner *runner = srunner_create(test_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
