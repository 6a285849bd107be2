#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace headscope::tokenizers {

/// A hash whose every bit depends on every bit of `x`.
constexpr std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9u;
  return x ^ (x >> 32);
}

/// Values by unsigned integer keys, side by side in one array: a look-up is mostly one cache line.
/// The largest key stands for an empty slot and cannot be stored.
template <typename Key, typename Value>
class FlatMap {
 public:
  /// Room for `count` keys without moving any.
  void reserve(std::size_t count) {
    const std::size_t needed = std::bit_ceil(count + count / 2 + 8);
    if (needed > slots_.size()) rehash(needed);
  }

  /// Sets the value of a key, known or new.
  void set(Key key, const Value& value) {
    if ((size_ + 1) * 3 > slots_.size() * 2) rehash(slots_.empty() ? 16 : slots_.size() * 2);
    Slot& slot = slots_[place(key)];
    if (slot.key == kEmpty) ++size_;
    slot = {key, value};
  }

  /// nullptr when there is no such key.
  [[nodiscard]] const Value* find(Key key) const {
    if (slots_.empty() || key == kEmpty) return nullptr;
    const Slot& slot = slots_[place(key)];
    return slot.key == key ? &slot.value : nullptr;
  }
  /// Calls up the memory that a look-up of the key will need.
  void prefetch(Key key) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[mix(key) & (slots_.size() - 1)]);
  }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static constexpr Key kEmpty = std::numeric_limits<Key>::max();
  struct Slot {
    Key key = kEmpty;
    Value value{};
  };

  [[nodiscard]] std::size_t place(Key key) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = mix(key) & mask;
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & mask;
    return at;
  }

  void rehash(std::size_t size) {
    std::vector<Slot> old(size);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[place(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace headscope::tokenizers
