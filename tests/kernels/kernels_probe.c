/* Prints which kernels are taken: one of an instruction set only if they agree with the plain C. */
#include "index/kernels.h"

#include <stdio.h>

int main(void) {
    puts(kernels_get()->name);
    return 0;
}
