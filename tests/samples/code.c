/* Counts how often each byte occurs in a file and prints the entropy of the counts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUES 256

struct histogram {
    unsigned long count[VALUES];
    unsigned long total;
};

static void histogram_add(struct histogram *h, const unsigned char *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        h->count[data[i]]++;
    }
    h->total += length;
}

static double histogram_entropy(const struct histogram *h)
{
    double bits = 0.0;

    if (h->total == 0) {
        return 0.0;
    }
    for (int value = 0; value < VALUES; value++) {
        if (h->count[value] > 0) {
            double p = (double)h->count[value] / (double)h->total;
            bits -= p * log2(p);
        }
    }
    return bits;
}

static int read_all(const char *name, struct histogram *h)
{
    unsigned char buffer[65536];
    size_t length;
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");

    if (file == NULL) {
        perror(name);
        return -1;
    }
    while ((length = fread(buffer, 1, sizeof buffer, file)) > 0) {
        histogram_add(h, buffer, length);
    }
    if (ferror(file)) {
        perror(name);
        if (file != stdin) {
            fclose(file);
        }
        return -1;
    }
    if (file != stdin) {
        fclose(file);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int status = EXIT_SUCCESS;

    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE...\n", argv[0]);
        return EXIT_FAILURE;
    }
    for (int i = 1; i < argc; i++) {
        struct histogram h = {{0}, 0};
        if (read_all(argv[i], &h) != 0) {
            status = EXIT_FAILURE;
            continue;
        }
        printf("%s: %lu bytes, %.4f bits per byte\n", argv[i], h.total, histogram_entropy(&h));
    }
    return status;
}
