#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/model.h"

namespace headscope::tokenizers {

/// The pieces of words seen before: texts repeat themselves. Holds up to about 10 MB and forgets
/// all of it when full.
class WordCache {
 public:
  /// Longer words come too seldom to be worth it.
  static constexpr std::size_t kLongestWord = 48;

  /// Nothing when the word is not there. Good until the next `add`.
  [[nodiscard]] std::optional<std::span<const Piece>> find(std::u32string_view word) const;
  void add(std::u32string_view word, std::span<const Piece> pieces);

 private:
  struct Slot {
    std::uint64_t hash = 0;  ///< 0: empty
    std::uint32_t word = 0;  ///< where it begins in words_
    std::uint32_t pieces = 0;
    std::uint16_t word_size = 0;
    std::uint16_t count = 0;
  };
  static std::uint64_t hash_of(std::u32string_view word);
  [[nodiscard]] std::size_t place(std::uint64_t hash, std::u32string_view word) const;
  void grow();

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
  std::u32string words_;
  std::vector<Piece> pieces_;
};

/// Caches that threads borrow for a call, so that encoding locks once a text, not once a word.
class CachePool {
 public:
  std::unique_ptr<WordCache> take();
  void give_back(std::unique_ptr<WordCache> cache);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> free_;
};

}  // namespace headscope::tokenizers
