#include "tokenizers/word_cache.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "tokenizers/flat_map.h"

namespace headscope::tokenizers {
namespace {

constexpr std::size_t kFirstSlots = std::size_t{1} << 10;
constexpr std::size_t kMostSlots = std::size_t{1} << 17;
constexpr std::size_t kMostProbes = 16;  // words that were made to collide must not cost more

}  // namespace

std::uint64_t WordCache::hash_of(std::u32string_view word) {
  std::uint64_t hash = word.size();
  std::size_t i = 0;
  for (; i + 2 <= word.size(); i += 2) {
    std::uint64_t two = 0;
    std::memcpy(&two, word.data() + i, sizeof two);
    hash = (hash ^ two) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  if (i < word.size()) hash ^= word[i];
  return mix(hash) | 1;
}

/// The slot of a word, or the empty one it could have, or (too many probes) one of another word.
std::size_t WordCache::place(std::uint64_t hash, std::u32string_view word) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = (hash >> 8) & mask;
  for (std::size_t probe = 0; probe < kMostProbes; ++probe, at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.hash == 0) break;
    if (slot.hash == hash && slot.word_size == word.size() &&
        std::equal(word.begin(), word.end(), words_.begin() + slot.word)) {
      break;
    }
  }
  return at;
}

std::optional<std::span<const Piece>> WordCache::find(std::u32string_view word) const {
  if (slots_.empty()) return std::nullopt;
  const std::uint64_t hash = hash_of(word);
  const Slot& slot = slots_[place(hash, word)];
  if (slot.hash != hash || slot.word_size != word.size() ||
      !std::equal(word.begin(), word.end(), words_.begin() + slot.word)) {
    return std::nullopt;
  }
  return std::span<const Piece>(pieces_).subspan(slot.pieces, slot.count);
}

void WordCache::add(std::u32string_view word, std::span<const Piece> pieces) {
  if (word.size() > kLongestWord || pieces.size() > std::numeric_limits<std::uint16_t>::max()) {
    return;
  }
  if (used_ * 2 >= slots_.size()) grow();
  const std::uint64_t hash = hash_of(word);
  Slot& slot = slots_[place(hash, word)];
  if (slot.hash != 0) return;
  slot = {hash,
          static_cast<std::uint32_t>(words_.size()),
          static_cast<std::uint32_t>(pieces_.size()),
          static_cast<std::uint16_t>(word.size()),
          static_cast<std::uint16_t>(pieces.size())};
  words_ += word;
  pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
  ++used_;
}

void WordCache::grow() {
  if (slots_.size() == kMostSlots) {
    std::fill(slots_.begin(), slots_.end(), Slot{});
    words_.clear();
    pieces_.clear();
    used_ = 0;
    return;
  }
  std::vector<Slot> old(std::max(kFirstSlots, slots_.size() * 2));
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.hash == 0) continue;
    Slot& place_of =
        slots_[place(slot.hash, std::u32string_view(words_).substr(slot.word, slot.word_size))];
    if (place_of.hash == 0) place_of = slot;
  }
}

std::unique_ptr<WordCache> CachePool::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<WordCache>();
  std::unique_ptr<WordCache> cache = std::move(free_.back());
  free_.pop_back();
  return cache;
}

void CachePool::give_back(std::unique_ptr<WordCache> cache) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(cache));
}

}  // namespace headscope::tokenizers
