/* Threads, thread-local variables, and arithmetic that the compiler's own library does. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local unsigned long long own;
static unsigned long long results[4];

static void *work(void *place)
{
	unsigned long long *result = place;
	own = 1;
	for (unsigned i = 2; i <= 20; i++)
		own *= i;
	*result = own / (unsigned long long)(result - results + 1);
	return NULL;
}

int main(void)
{
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, work, &results[i]))
			return EXIT_FAILURE;
	for (int i = 0; i < 4; i++)
		if (pthread_join(threads[i], NULL))
			return EXIT_FAILURE;
	printf("hello from C: %llu, %.3Lf\n", results[3], (long double)results[2] / results[0]);
	return EXIT_SUCCESS;
}
