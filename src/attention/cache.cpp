#include "headscope/cache.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace headscope {

namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 28;  // of any size; products stay below 2^63

void check_layer(const KvCache::Layer& l) {
  const auto within = [](std::int64_t x) { return x >= 1 && x <= (1 << 16); };
  if (!within(l.groups) || !within(l.width) || !within(l.value_width) || l.window < -1) {
    throw Error(ErrorCode::kRange,
                fmt::format("[cache] expected 1..65536 groups and widths and a window >= -1, found "
                            "{}, {} and {}, {}",
                            l.groups,
                            l.width,
                            l.value_width,
                            l.window));
  }
}

void store(const float* from, std::int64_t n, DType dtype, std::byte* to) {
  if (dtype == DType::kF32) {
    std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  auto* narrow = reinterpret_cast<bf16*>(to);
  for (std::int64_t i = 0; i < n; ++i) narrow[i] = to_bf16(from[i]);
}

// Rows [at, at + T) of every group of a buffer.
void store_rows(
    View<const float, 3> from, DType dtype, std::int64_t rows, std::int64_t at, std::byte* to) {
  const auto [G, T, D] = from.shape;
  const std::size_t step = static_cast<std::size_t>(D) * size_of(dtype);
  for (std::int64_t g = 0; g < G; ++g) {
    for (std::int64_t t = 0; t < T; ++t)
      store(&from(g, t, 0), D, dtype, to + static_cast<std::size_t>(g * rows + at + t) * step);
  }
}

// The last `keep` of `kept` rows of every group come first.
void move_rows(std::byte* pages,
               std::int64_t groups,
               std::int64_t rows,
               std::size_t step,
               std::int64_t kept,
               std::int64_t keep) {
  for (std::int64_t g = 0; g < groups; ++g) {
    std::byte* begin = pages + static_cast<std::size_t>(g * rows) * step;
    std::memmove(begin,
                 begin + static_cast<std::size_t>(kept - keep) * step,
                 static_cast<std::size_t>(keep) * step);
  }
}

}  // namespace

void KvCache::Unmap::operator()(std::byte* p) const {
  if (p != nullptr) ::munmap(p, bytes);
}

KvCache::Pages KvCache::reserve(std::int64_t numbers) const {
  const std::size_t bytes = static_cast<std::size_t>(numbers) * size_of(dtype_);
  void* p = ::mmap(
      nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    throw Error(
        ErrorCode::kResources,
        fmt::format("[cache] no address space of {} bytes for {} positions", bytes, positions_));
  }
  return {static_cast<std::byte*>(p), Unmap{bytes}};
}

KvCache::KvCache(std::vector<Layer> layers, std::int64_t positions, DType dtype)
    : layers_(std::move(layers)), positions_(positions), dtype_(dtype) {
  if (dtype != DType::kF32 && dtype != DType::kBF16) {
    throw Error(ErrorCode::kDType,
                fmt::format("[cache] expected f32 or bf16, found {}", name(dtype)));
  }
  if (positions < 1 || positions > kMost) {
    throw Error(ErrorCode::kRange,
                fmt::format("[cache] expected 1..{} positions, found {}", kMost, positions));
  }
  for (const Layer& l : layers_) {
    check_layer(l);
    Part part;
    part.rows = positions;
    part.keys = reserve(l.groups * positions * l.width);
    part.values = reserve(l.groups * positions * l.value_width);
    parts_.push_back(std::move(part));
  }
}

std::size_t KvCache::bytes() const {
  std::size_t total = 0;
  for (std::size_t n = 0; n < parts_.size(); ++n) {
    const Layer& l = layers_[n];
    total += static_cast<std::size_t>(kept(parts_[n]) * l.groups * (l.width + l.value_width)) *
             size_of(dtype_);
  }
  return total;
}

// A window that is half of its buffer moves once a window: one copy of each key on average.
void KvCache::make_room(const Layer& layer, Part& part, std::int64_t T) const {
  const std::int64_t here = length_ - part.first;
  if (layer.window < 0 || here <= layer.window) return;
  if (here + T <= std::min(part.rows, std::max(2 * layer.window, layer.window + T))) return;
  const std::size_t size = size_of(dtype_);
  move_rows(part.keys.get(),
            layer.groups,
            part.rows,
            static_cast<std::size_t>(layer.width) * size,
            here,
            layer.window);
  move_rows(part.values.get(),
            layer.groups,
            part.rows,
            static_cast<std::size_t>(layer.value_width) * size,
            here,
            layer.window);
  part.first = length_ - layer.window;
}

void KvCache::append(std::size_t n, View<const float, 3> k, View<const float, 3> v) {
  const Layer& l = layers_.at(n);
  Part& part = parts_[n];
  const std::int64_t T = k.shape[1];
  if (k.shape != std::array{l.groups, T, l.width} ||
      v.shape != std::array{l.groups, T, l.value_width} || k.stride[2] != 1 || v.stride[2] != 1) {
    throw Error(ErrorCode::kShape,
                fmt::format("[cache] expected k [{},T,{}] and v [{},T,{}], found {} and {}",
                            l.groups,
                            l.width,
                            l.groups,
                            l.value_width,
                            to_string(k.shape),
                            to_string(v.shape)));
  }
  if (T > positions_ - length_) {
    throw Error(ErrorCode::kInput,
                fmt::format("[cache] expected at most {} tokens, found {}: {} too many",
                            positions_,
                            length_ + T,
                            length_ + T - positions_));
  }
  make_room(l, part, T);
  const std::int64_t at = length_ - part.first;
  store_rows(k, dtype_, part.rows, at, part.keys.get());
  store_rows(v, dtype_, part.rows, at, part.values.get());
  part.pending = T;
}

void KvCache::advance(std::int64_t T) {
  for (Part& part : parts_) {
    if (part.pending != T) {
      throw Error(
          ErrorCode::kUsage,
          fmt::format("[cache] expected {} tokens in every layer, found {}", T, part.pending));
    }
  }
  for (Part& part : parts_) part.pending = 0;
  length_ += T;
}

void KvCache::truncate(std::int64_t n) {
  std::int64_t least = 0;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].first > 0) least = std::max(least, parts_[i].first + layers_[i].window);
  }
  if (n < (n == 0 ? 0 : least) || n > length_ || n < 0) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[cache] expected a length of 0 or {}..{}, found {}", least, length_, n));
  }
  length_ = n;
  for (Part& part : parts_) {
    part.pending = 0;
    if (n == 0) part.first = 0;
  }
}

void KvCache::check(DType wanted) const {
  if (wanted == dtype_) return;
  throw Error(ErrorCode::kDType,
              fmt::format("[cache] expected {}, found {}", name(wanted), name(dtype_)));
}

}  // namespace headscope
