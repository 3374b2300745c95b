// Dropout, whose random numbers are those of kernels/random.py. common.cu stands before them.

// y[i] = scale x[i] where the bits of its example and of its number in it, modulo `different`, are at least threshold,
// else 0. state: of the bits before the update, or behind it where it is not counted here. size: of an example.
KERNEL dropout(INDEX count, IN x, INTEGERS examples, INTEGERS update, INDEX counted, long long state, INDEX size,
               INDEX different, long long threshold, REAL scale, OUT y) {
    THREAD_OR_RETURN(i, count);
    const unsigned before = counted ? mixed((unsigned)update[0] ^ (unsigned)state) : (unsigned)state;
    const unsigned of_example = mixed((unsigned)examples[i / size] ^ before);
    const unsigned bits = mixed((unsigned)(i % size % different) ^ of_example);
    y[i] = x[i] * (bits >= (unsigned)threshold ? scale : (REAL)0);  // NaN stays NaN
}
