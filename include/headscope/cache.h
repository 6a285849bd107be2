#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "headscope/tensor.h"

namespace headscope {

/// Keys and values of one sequence in every layer, so that a token that comes later need not compute
/// those of the tokens before it. Address space for all positions is reserved when it is made, memory is
/// taken as tokens come: growing copies nothing. Layers whose rows see a window only keep that window:
/// its keys move to the front of their buffer when twice the window is full.
/// Cost    2 * G * (D + Dv) bytes a token and layer in bf16, twice that in f32.
class KvCache {
 public:
  /// What one layer's attention keeps.
  struct Layer {
    std::int64_t groups = 0;       ///< G
    std::int64_t width = 0;        ///< D
    std::int64_t value_width = 0;  ///< Dv
    std::int64_t window = -1;      ///< keys to the left that a row sees besides itself; -1: all
  };

  /// Empty, for at most `positions` tokens in f32 or bf16 (rounded to nearest).
  /// Errors: kRange (sizes), kDType, kResources (no address space).
  KvCache(std::vector<Layer> layers, std::int64_t positions, DType dtype = DType::kF32);
  KvCache(KvCache&&) noexcept = default;
  KvCache& operator=(KvCache&&) noexcept = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  ~KvCache() = default;

  [[nodiscard]] std::int64_t length() const { return length_; }        ///< tokens that are in
  [[nodiscard]] std::int64_t positions() const { return positions_; }  ///< tokens that fit
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }
  [[nodiscard]] std::size_t bytes() const;  ///< memory that the kept keys and values take

  /// Keys and values of the next T tokens in one layer; they count once every layer has them and
  /// `advance` is called. Doing it again before that replaces them.
  /// Shapes  k [G,T,D], v [G,T,Dv], last axis contiguous.  Errors: kShape, kInput (it is full: by how much).
  void append(std::size_t layer, View<const float, 3> k, View<const float, 3> v);
  /// The T tokens that all layers were given are in.
  void advance(std::int64_t T);

  /// What a layer keeps, with the tokens just appended: [G,kept,D] and [G,kept,Dv].
  /// Errors: kDType when T is not what is stored.
  template <typename T>
  [[nodiscard]] View<const T, 3> keys(std::size_t layer) const;
  template <typename T>
  [[nodiscard]] View<const T, 3> values(std::size_t layer) const;
  /// Position of the first key that a layer keeps.
  [[nodiscard]] std::int64_t first(std::size_t layer) const { return parts_.at(layer).first; }

  /// Goes back to the first n tokens. Errors: kRange (more than there are, or a window that n needs is
  /// gone: says how far back it goes).
  void truncate(std::int64_t n);

  /// Beside the tokens: keys and values of what an encoder made of the input, one layer for each cross
  /// attention. nullptr as long as there is none.
  [[nodiscard]] KvCache* memory() const { return memory_.get(); }
  void set_memory(KvCache memory) { memory_ = std::make_unique<KvCache>(std::move(memory)); }

 private:
  struct Unmap {
    std::size_t bytes;
    void operator()(std::byte* p) const;
  };
  using Pages = std::unique_ptr<std::byte, Unmap>;
  struct Part {
    Pages keys, values;
    std::int64_t rows = 0;     // that a group's buffer holds
    std::int64_t first = 0;    // position of the first kept key
    std::int64_t pending = 0;  // tokens appended since the last advance
  };

  [[nodiscard]] Pages reserve(std::int64_t numbers) const;
  void make_room(const Layer& layer, Part& part, std::int64_t T) const;
  [[nodiscard]] std::int64_t kept(const Part& part) const {
    return length_ + part.pending - part.first;
  }
  void check(DType wanted) const;

  std::vector<Layer> layers_;
  std::vector<Part> parts_;
  std::int64_t positions_ = 0;
  std::int64_t length_ = 0;
  DType dtype_ = DType::kF32;
  std::unique_ptr<KvCache> memory_;
};

template <typename T>
View<const T, 3> KvCache::keys(std::size_t layer) const {
  check(kDTypeOf<T>);
  const Part& part = parts_.at(layer);
  const Layer& l = layers_[layer];
  return {reinterpret_cast<const T*>(part.keys.get()),
          {l.groups, kept(part), l.width},
          {part.rows * l.width, l.width, 1}};
}

template <typename T>
View<const T, 3> KvCache::values(std::size_t layer) const {
  check(kDTypeOf<T>);
  const Part& part = parts_.at(layer);
  const Layer& l = layers_[layer];
  return {reinterpret_cast<const T*>(part.values.get()),
          {l.groups, kept(part), l.value_width},
          {part.rows * l.value_width, l.value_width, 1}};
}

}  // namespace headscope
