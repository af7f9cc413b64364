/* fault.h -- points in the code where a test makes the process die or a step fail.
 *
 * In a build without NIGH_FAULTS, FAULT_POINT() is false and costs nothing. With it, the
 * environment variable NIGH_FAULT="name:N:kill" kills the process at the N-th pass of the point of
 * that name, and "name:N:fail" makes FAULT_POINT() true there once ("name:N:fail*": from there on).
 * Any thread.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>

#ifdef NIGH_FAULTS
#define FAULT_POINT(name) fault_pass(name)
#else
#define FAULT_POINT(name) false
#endif

/* True if the caller is to behave as if the step had failed. */
bool fault_pass(const char *name);

/* Sets the fault in place of the environment: for tests in the same process. NULL: none. */
void fault_set(const char *specification);

#endif
