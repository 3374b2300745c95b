// Images of a batch, mirrored, moved, turned, enlarged and bent, as training/augmentation/geometry.py says: in whole
// numbers, so that bytes are those of every other device. common.cu stands before.

#define ONE_PIXEL 65536LL  // what coordinates count a pixel as
#define NODES 5            // of the grid of an elastic displacement, along each axis
#define DISPLACED 32       // the counter of the first of its draws

// Above -1 and below 1, of 32 random bits.
__device__ inline double signed_of(unsigned int drawn) {
    return (double)(2LL * (long long)drawn + 1 - (1LL << 32)) * (1 / 4294967296.0);
}

// The place 0 .. last that mirrors at both ends show.
__device__ inline long long reflected(long long place, long long last) {
    long long rest = place % (2 * last);
    if (rest < 0) rest += 2 * last;
    return last - (rest > last ? rest - last : last - rest);
}

__device__ inline long long limited(long long place, long long low, long long high) {
    return place < low ? low : place > high ? high : place;
}

// Where a pixel stands between two nodes: the first one, and the weight of the second in 1/256.
__device__ inline int node_of(INDEX h, INDEX H, long long& weight) {
    const long long place = (long long)h * ((NODES - 1) * 256) / (H > 1 ? H - 1 : 1);
    const long long node = place >> 8 < NODES - 2 ? place >> 8 : NODES - 2, t = place - (node << 8);
    weight = t * t * (768 - 2 * t) >> 16;
    return (int)node;
}

__device__ inline long long between(long long first, long long second, long long weight) {
    return first + ((second - first) * weight >> 8);
}

// By how much pixel (h, w) moves along an axis; most: the largest displacement.
__device__ inline long long displacement(unsigned int image, int axis, INDEX h, INDEX w, INDEX H, INDEX W,
                                         long long most) {
    long long down, right, row[2];
    const int i = node_of(h, H, down), j = node_of(w, W, right);
    for (int k = 0; k < 2; k++) {
        long long at[2];
        for (int l = 0; l < 2; l++) {
            const int node = DISPLACED + (axis * NODES + i + l) * NODES + j + k;
            at[l] = ((long long)(mixed(image ^ (unsigned int)node) >> 16) * 2 - 65535) * most >> 16;
        }
        row[k] = between(at[0], at[1], down);
    }
    return between(row[0], row[1], right);
}

__device__ inline long long pixel_at(BYTES image, long long row, long long column, INDEX H, INDEX W, INDEX C) {
    return row < 0 || row >= H || column < 0 || column >= W ? 0 : image[(row * W + column) * C];
}

// flip: 0 no image is mirrored, 1 half of them, 2 each in every second epoch, of `updates` updates. rotate in radians,
// zoom as a part; elastic, most: in 1 / ONE_PIXEL and in pixels. numbers[3] is the update's number.
KERNEL mapped_pixels(INDEX count, BYTES images, INTEGERS order, INTEGERS examples, INDEX H, INDEX W, INDEX C,
                     INDEX most, INDEX flip, INDEX updates, INDEX reflect, double rotate, double zoom,
                     long long elastic, long long key, NUMBERS numbers, byte* __restrict__ out) {
    THREAD_OR_RETURN(index, count);
    const INDEX k = index / (H * W * C), h = index / (W * C) % H, w = index / C % W;
    const long long step = (long long)numbers[3];
    const unsigned int keyed = mixed((unsigned int)key), example = (unsigned int)examples[k];
    const unsigned int image = mixed(mixed(keyed ^ (unsigned int)step) ^ example);
    const long long down = below(2 * most + 1, mixed(image ^ 1u)) - most;
    const long long right = below(2 * most + 1, mixed(image ^ 2u)) - most;
    long long side = 1;
    if (flip == 1 && mixed(image ^ 3u) >> 31) side = -1;
    if (flip == 2 && ((mixed(mixed(mixed(keyed) ^ example) ^ 3u) >> 31) + (step - 1) / updates) & 1) side = -1;
    const double angle = signed_of(mixed(image ^ 4u)) * rotate, size = 1 + signed_of(mixed(image ^ 5u)) * zoom;
    const long long along = (long long)rint(cos(angle) / size * (ONE_PIXEL / 2));
    const long long across = (long long)rint(sin(angle) / size * (ONE_PIXEL / 2));
    const long long u = 2 * (h - down) - (H - 1), v = 2 * (w - right) - (W - 1);  // twice, from the centre
    long long y = along * u + across * v + (H - 1) * (ONE_PIXEL / 2);
    long long x = side * (along * v - across * u) + (W - 1) * (ONE_PIXEL / 2);
    if (elastic) {
        y += displacement(image, 0, h, w, H, W, elastic);
        x += displacement(image, 1, h, w, H, W, elastic);
    }
    y = reflect ? reflected(y, (H - 1) * ONE_PIXEL) : limited(y, -ONE_PIXEL, H * ONE_PIXEL);
    x = reflect ? reflected(x, (W - 1) * ONE_PIXEL) : limited(x, -ONE_PIXEL, W * ONE_PIXEL);
    const long long row = y >> 16, column = x >> 16, below_it = y >> 8 & 255, beside = x >> 8 & 255;
    BYTES from = images + (long long)order[k] * H * W * C + index % C;
    long long total = 0;
    for (int l = 0; l < 2; l++) {
        const long long first = pixel_at(from, row + l, column, H, W, C);
        const long long second = pixel_at(from, row + l, column + 1, H, W, C);
        total += (first * (256 - beside) + second * beside) * (l ? below_it : 256 - below_it);
    }
    out[index] = (byte)((total + ONE_PIXEL / 2) >> 16);
}
