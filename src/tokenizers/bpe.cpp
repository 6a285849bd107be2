#include "tokenizers/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <span>
#include <string>

#include "headscope/error.h"
#include "tokenizers/flat_map.h"
#include "tokenizers/unicode.h"

namespace headscope::tokenizers {
namespace {

constexpr std::size_t kShort = 32;  // symbols that are merged by looking at all of them each time
constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();

/// What two neighbours become, and when.
struct Merge {
  std::uint32_t rank = kNever;
  std::int32_t id = -1;
};

/// A stretch of the word that is one token so far.
struct Symbol {
  std::int32_t id = 0;
  std::uint32_t bytes = 0;  ///< of the word in UTF-8
};

/// A symbol in the list that long words are merged in.
struct Node {
  Symbol symbol;
  Merge merge;  ///< with the next one
  std::uint32_t previous = kNever, next = kNever;
};

/// Room that is kept from word to word.
struct Workspace {
  std::vector<Symbol> symbols;
  std::vector<Node> nodes;
  std::vector<std::uint64_t> heap;
  std::string text;
};

Workspace& workspace() {
  thread_local Workspace kept;
  constexpr std::size_t kKept = std::size_t{1} << 16;
  if (kept.nodes.capacity() > kKept || kept.symbols.capacity() > kKept) kept = Workspace{};
  return kept;
}

std::uint64_t pair_of(std::uint32_t a, std::uint32_t b) { return (std::uint64_t{a} << 32) | b; }

std::uint32_t utf8_size(char32_t c) {
  return 1u + (c >= 0x80 ? 1u : 0u) + (c >= 0x800 ? 1u : 0u) + (c >= 0x10000 ? 1u : 0u);
}

class Bpe : public Model {
 public:
  Bpe(const ModelParts& parts, std::string_view where)
      : vocabulary_(require_vocab(parts, false, where), where) {
    const json::Value& options = parts.options;
    if (json::get_or<double>(options, "dropout", 0, where) != 0) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[{}] expected \"dropout\" to be null or 0 (encoding is not random), "
                              "found {}",
                              where,
                              json::describe(*json::find(options, "dropout", where))));
    }
    unknown_ = json::get_or<std::string>(options, "unk_token", "", where);
    if (json::find(options, "unk_token", where) != nullptr) {
      unknown_id_ = vocabulary_.id_of(unknown_);
    }
    prefix_ = json::get_or<std::string>(options, "continuing_subword_prefix", "", where);
    suffix_ = json::get_or<std::string>(options, "end_of_word_suffix", "", where);
    fuse_unknown_ = json::get_or<bool>(options, "fuse_unk", false, where);
    byte_fallback_ = json::get_or<bool>(options, "byte_fallback", false, where);
    ignore_merges_ = json::get_or<bool>(options, "ignore_merges", false, where);
    index_characters();
    if (parts.merges) read_merges(*parts.merges, where);
  }

  void tokenize(std::u32string_view word, std::vector<Piece>& out) const override {
    Workspace& room = workspace();
    if (ignore_merges_) {
      room.text.clear();
      for (const char32_t c : word) append_utf8(c, room.text);
      const std::int32_t whole = vocabulary_.id_of(room.text);
      if (whole >= 0) {
        out.push_back({whole, 0, static_cast<std::uint32_t>(word.size())});
        return;
      }
    }
    room.symbols.clear();
    read_symbols(word, room.symbols);
    if (room.symbols.size() <= kShort) {
      merge_short(room.symbols);
    } else {
      merge_long(room);
    }
    emit(word, room.symbols, out);
  }

  /// Between two characters that end and begin no pair of a merge, none can ever happen.
  [[nodiscard]] std::size_t cut(std::u32string_view word) const override {
    if (!separable_) return word.size();
    bool known = character(word[0]) >= 0;
    for (std::size_t i = 1; i < word.size(); ++i) {
      const bool before = known;
      known = character(word[i]) >= 0;
      if (before && known && neighbours_.find(pair_of(word[i - 1], word[i])) == nullptr) return i;
    }
    return word.size();
  }

  [[nodiscard]] const Vocabulary& vocabulary() const override { return vocabulary_; }
  [[nodiscard]] std::int32_t unknown_id() const override { return unknown_id_; }

 private:
  void index_characters() {
    near_.fill(-1);
    vocabulary_.each([this](const Vocabulary::Token& token) {
      if (token.text.empty() || token.text.size() > 4) return;
      std::size_t at = 0;
      const char32_t c = next_utf8(token.text, at);
      if (c == kNotUtf8 || at != token.text.size()) return;
      if (c < near_.size()) {
        near_[c] = token.id;
      } else {
        far_.set(c, token.id);
      }
    });
    bytes_.fill(-1);
    if (!byte_fallback_) return;
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      bytes_[i] = vocabulary_.id_of(fmt::format("<0x{:02X}>", i));
    }
  }

  [[nodiscard]] std::int32_t character(char32_t c) const {
    if (c < near_.size()) return near_[c];
    const std::int32_t* id = far_.find(c);
    return id == nullptr ? -1 : *id;
  }

  void read_merges(const std::vector<ModelParts::Merge>& merges, std::string_view where) {
    const bool all_bytes =
        std::all_of(bytes_.begin(), bytes_.end(), [](std::int32_t id) { return id >= 0; });
    separable_ =
        prefix_.empty() && suffix_.empty() && !ignore_merges_ && (unknown_id_ >= 0 || all_bytes);
    merges_.reserve(merges.size());
    constexpr std::size_t kBatch = 4096;
    for (std::size_t begin = 0; begin < merges.size(); begin += kBatch) {
      read_merges(std::span(merges).subspan(begin, std::min(kBatch, merges.size() - begin)), where);
    }
  }

  /// A batch of them: each asks the vocabulary for left, right, and both.
  void read_merges(std::span<const ModelParts::Merge> merges, std::string_view where) {
    std::vector<std::string_view> tokens;
    std::string joined;
    std::size_t bytes = 0;
    for (const ModelParts::Merge& merge : merges) bytes += merge.left.size() + merge.right.size();
    joined.reserve(bytes);  // views into it must stay
    for (const ModelParts::Merge& merge : merges) {
      if (merge.right.size() < prefix_.size()) throw missing(merge, merge.right, where);
      const std::size_t at = joined.size();
      joined.append(merge.left).append(merge.right.substr(prefix_.size()));
      tokens.insert(tokens.end(), {merge.left, merge.right, std::string_view(joined).substr(at)});
    }
    const std::vector<std::int32_t> ids = vocabulary_.ids_of(tokens);
    const auto pair = [&ids](std::size_t i) {
      return pair_of(static_cast<std::uint32_t>(ids[3 * i]),
                     static_cast<std::uint32_t>(ids[3 * i + 1]));
    };
    for (std::size_t i = 0; i < merges.size(); ++i) {
      for (std::size_t k = 3 * i; k < 3 * i + 3; ++k) {
        if (ids[k] < 0) throw missing(merges[i], tokens[k], where);
      }
      constexpr std::size_t kAhead = 16;
      if (i + kAhead < merges.size()) merges_.prefetch(pair(i + kAhead));
      merges_.set(pair(i), {merges[i].rank, ids[3 * i + 2]});
      if (separable_) note_neighbours(merges[i]);
    }
  }

  static Error missing(const ModelParts::Merge& merge,
                       std::string_view token,
                       std::string_view where) {
    return {ErrorCode::kFormat,
            fmt::format("[{}] expected the tokens of merge {} ({} and {}) in model.vocab, found no "
                        "{}",
                        where,
                        merge.rank,
                        json::quote(merge.left),
                        json::quote(merge.right),
                        json::quote(token))};
  }

  void note_neighbours(const ModelParts::Merge& merge) {
    if (merge.left.empty() || merge.right.empty()) {
      separable_ = false;
      return;
    }
    std::size_t last = merge.left.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(merge.left[last]) & 0xC0) == 0x80) --last;
    std::size_t first = 0;
    const char32_t a = next_utf8(merge.left, last);
    const char32_t b = next_utf8(merge.right, first);
    neighbours_.set(pair_of(a, b), true);
  }

  /// The tokens of single characters. What is unknown waits until a known one comes, so that it
  /// may be fused; bytes go ahead of it, as in Hugging Face tokenizers.
  void read_symbols(std::u32string_view word, std::vector<Symbol>& out) const {
    Symbol waiting{-1, 0};
    for (std::size_t i = 0; i < word.size(); ++i) {
      const std::uint32_t bytes = utf8_size(word[i]);
      const std::int32_t id = affixed(word, i);
      if (id >= 0) {
        if (waiting.id >= 0) out.push_back(waiting);
        waiting.id = -1;
        out.push_back({id, bytes});
        continue;
      }
      if (byte_fallback_ && push_bytes(word, i, out)) continue;
      if (unknown_.empty()) continue;  // text without a token is lost
      if (unknown_id_ < 0) throw no_unknown();
      if (waiting.id >= 0 && fuse_unknown_) {
        waiting.bytes += bytes;
        continue;
      }
      if (waiting.id >= 0) out.push_back(waiting);
      waiting = {unknown_id_, bytes};
    }
    if (waiting.id >= 0) out.push_back(waiting);
  }

  [[nodiscard]] Error no_unknown() const {
    return {ErrorCode::kInput,
            fmt::format("[tokenizer] expected text that the vocabulary has tokens for (its unknown "
                        "token {} is not in it), found other characters",
                        json::quote(unknown_))};
  }

  /// The token of a character where it stands in its word.
  [[nodiscard]] std::int32_t affixed(std::u32string_view word, std::size_t i) const {
    const bool prefixed = i > 0 && !prefix_.empty();
    const bool suffixed = i + 1 == word.size() && !suffix_.empty();
    if (!prefixed && !suffixed) return character(word[i]);
    return vocabulary_.id_of(affixed_text(word, i));
  }

  [[nodiscard]] std::string affixed_text(std::u32string_view word, std::size_t i) const {
    std::string text = i > 0 ? prefix_ : std::string();
    append_utf8(word[i], text);
    if (i + 1 == word.size()) text += suffix_;
    return text;
  }

  bool push_bytes(std::u32string_view word, std::size_t i, std::vector<Symbol>& out) const {
    const std::string text = affixed_text(word, i);
    const auto id_of = [this](char c) { return bytes_[static_cast<unsigned char>(c)]; };
    if (std::any_of(text.begin(), text.end(), [&](char c) { return id_of(c) < 0; })) return false;
    for (const char c : text) out.push_back({id_of(c), 1});
    return true;
  }

  [[nodiscard]] Merge merge_of(std::int32_t a, std::int32_t b) const {
    const Merge* found =
        merges_.find(pair_of(static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b)));
    return found == nullptr ? Merge{} : *found;
  }

  void merge_short(std::vector<Symbol>& symbols) const {
    std::array<Merge, kShort> next;  // of each symbol with the one behind it
    std::size_t n = symbols.size();
    for (std::size_t i = 0; i + 1 < n; ++i) next[i] = merge_of(symbols[i].id, symbols[i + 1].id);
    while (n > 1) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < n; ++i) {
        if (next[i].rank < next[best].rank) best = i;
      }
      if (next[best].rank == kNever) break;
      symbols[best] = {next[best].id, symbols[best].bytes + symbols[best + 1].bytes};
      --n;
      for (std::size_t i = best + 1; i < n; ++i) {
        symbols[i] = symbols[i + 1];
        next[i] = next[i + 1];
      }
      if (best > 0) next[best - 1] = merge_of(symbols[best - 1].id, symbols[best].id);
      if (best + 1 < n) next[best] = merge_of(symbols[best].id, symbols[best + 1].id);
    }
    symbols.resize(n);
  }

  /// The same with a heap of what can be merged. What has changed meanwhile is found out when its
  /// turn comes: its rank is no longer that of the pair at its place.
  void merge_long(Workspace& room) const {
    std::vector<Node>& nodes = room.nodes;
    const std::size_t n = room.symbols.size();
    nodes.resize(n);
    room.heap.clear();
    for (std::size_t i = 0; i < n; ++i) {
      const bool last = i + 1 == n;
      nodes[i] = {room.symbols[i],
                  last ? Merge{} : merge_of(room.symbols[i].id, room.symbols[i + 1].id),
                  i == 0 ? kNever : static_cast<std::uint32_t>(i - 1),
                  last ? kNever : static_cast<std::uint32_t>(i + 1)};
      if (nodes[i].merge.rank == kNever) continue;
      room.heap.push_back(pair_of(nodes[i].merge.rank, static_cast<std::uint32_t>(i)));
    }
    std::make_heap(room.heap.begin(), room.heap.end(), std::greater<>());
    while (!room.heap.empty()) {
      std::pop_heap(room.heap.begin(), room.heap.end(), std::greater<>());
      const std::uint64_t top = room.heap.back();
      room.heap.pop_back();
      const auto at = static_cast<std::uint32_t>(top);
      if (nodes[at].merge.rank == static_cast<std::uint32_t>(top >> 32)) merge_at(at, room);
    }
    room.symbols.clear();
    for (std::uint32_t i = 0; i != kNever; i = nodes[i].next) {
      room.symbols.push_back(nodes[i].symbol);
    }
  }

  void merge_at(std::uint32_t at, Workspace& room) const {
    std::vector<Node>& nodes = room.nodes;
    Node& left = nodes[at];
    Node& right = nodes[left.next];
    left.symbol = {left.merge.id, left.symbol.bytes + right.symbol.bytes};
    left.next = right.next;
    left.merge = right.merge = Merge{};
    if (left.next != kNever) {
      nodes[left.next].previous = at;
      consider(at, room);
    }
    if (left.previous != kNever) consider(left.previous, room);
  }

  void consider(std::uint32_t at, Workspace& room) const {
    Node& node = room.nodes[at];
    node.merge = merge_of(node.symbol.id, room.nodes[node.next].symbol.id);
    if (node.merge.rank == kNever) return;
    room.heap.push_back(pair_of(node.merge.rank, at));
    std::push_heap(room.heap.begin(), room.heap.end(), std::greater<>());
  }

  /// Symbols lie one behind the other in the bytes of the word, even where text was lost between
  /// them; a part of a character stands for all of it.
  static void emit(std::u32string_view word,
                   const std::vector<Symbol>& symbols,
                   std::vector<Piece>& out) {
    const auto size = static_cast<std::uint32_t>(word.size());
    std::uint32_t at = 0;        // a character
    std::uint32_t at_begin = 0;  // its first byte
    std::uint32_t begin = 0;
    const auto advance = [&](std::uint32_t byte) {
      while (at < size && at_begin + utf8_size(word[at]) <= byte) at_begin += utf8_size(word[at++]);
      return std::min(at, size - 1);
    };
    for (const Symbol& symbol : symbols) {
      const std::uint32_t end = begin + symbol.bytes;
      const std::uint32_t first = advance(begin);
      out.push_back({symbol.id, first, advance(end - 1) + 1});
      begin = end;
    }
  }

  Vocabulary vocabulary_;
  std::string unknown_, prefix_, suffix_;
  std::int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false, separable_ = false;
  std::array<std::int32_t, 1536> near_{};  ///< tokens of single characters, Latin to Cyrillic
  FlatMap<std::uint32_t, std::int32_t> far_;
  std::array<std::int32_t, 256> bytes_{};
  FlatMap<std::uint64_t, Merge> merges_;
  FlatMap<std::uint64_t, bool> neighbours_;  ///< last character of a left token, first of a right
};

}  // namespace

std::unique_ptr<const Model> make_bpe(const ModelParts& parts, std::string_view where) {
  return std::make_unique<const Bpe>(parts, where);
}

}  // namespace headscope::tokenizers
