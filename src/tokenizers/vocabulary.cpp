#include "tokenizers/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "headscope/error.h"

namespace headscope::tokenizers {
namespace {

constexpr std::size_t kAhead = 8;  // look-ups whose memory is on its way

std::uint32_t hash_of(std::string_view text) {
  std::uint64_t hash = text.size();
  while (text.size() >= 8) {
    std::uint64_t part = 0;
    std::memcpy(&part, text.data(), 8);
    hash = mix(hash ^ part);
    text.remove_prefix(8);
  }
  std::uint64_t rest = 0;
  std::memcpy(&rest, text.data(), text.size());
  return static_cast<std::uint32_t>(mix(hash ^ rest));
}

}  // namespace

Vocabulary::Vocabulary(const std::vector<TokenEntry>& entries, std::string_view where) {
  std::size_t bytes = 0;
  for (const TokenEntry& entry : entries) bytes += entry.token.size();
  if (bytes >= kNone || entries.size() >= kNone / 2) {
    throw Error(ErrorCode::kResources,
                fmt::format("[{}] expected a vocabulary of less than 4 GiB, found {} bytes in {} "
                            "tokens",
                            where,
                            bytes,
                            entries.size()));
  }
  text_.reserve(bytes);
  tokens_.reserve(entries.size());
  slots_.resize(std::bit_ceil(entries.size() * 2 + 1));
  std::vector<std::uint32_t> hashes;
  hashes.reserve(entries.size());
  for (const TokenEntry& entry : entries) hashes.push_back(hash_of(entry.token));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i + kAhead < entries.size()) prefetch(hashes[i + kAhead]);
    insert(entries[i], hashes[i], where);
  }
  index_ids(where);
}

std::size_t Vocabulary::place(std::string_view token, std::uint32_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  for (; slots_[at].index != kNone; at = (at + 1) & mask) {
    if (slots_[at].hash == hash && text_of(tokens_[slots_[at].index]) == token) break;
  }
  return at;
}

void Vocabulary::insert(const TokenEntry& entry, std::uint32_t hash, std::string_view where) {
  if (entry.id < 0 || entry.id > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected the id of \"{}\" to be 0..{}, found {}",
                            where,
                            entry.token,
                            std::numeric_limits<std::int32_t>::max(),
                            entry.id));
  }
  Slot& slot = slots_[place(entry.token, hash)];
  const auto id = static_cast<std::int32_t>(entry.id);
  if (slot.index != kNone) {
    Stored& known = tokens_[slot.index];
    if (known.id != id) older_.push_back(known);
    known.id = id;
    return;
  }
  slot = {hash, static_cast<std::uint32_t>(tokens_.size())};
  tokens_.push_back({static_cast<std::uint32_t>(text_.size()),
                     static_cast<std::uint32_t>(entry.token.size()),
                     id});
  text_ += entry.token;
}

void Vocabulary::index_ids(std::string_view where) {
  std::size_t ids = 0;  // one beyond the largest
  for (std::size_t i = 0; i < size(); ++i)
    ids = std::max(ids, static_cast<std::size_t>(with_id(i).id) + 1);
  const bool dense = ids <= 2 * size() + 1024;
  if (dense) dense_.assign(ids, kNone);
  if (!dense) sparse_.reserve(size());
  for (std::size_t i = 0; i < size(); ++i) {
    const auto id = static_cast<std::uint32_t>(with_id(i).id);
    const std::uint32_t* known = dense ? &dense_[id] : sparse_.find(id);
    if (known != nullptr && *known != kNone) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected one token an id, found \"{}\" and \"{}\" with id {}",
                              where,
                              text_of(with_id(*known)),
                              text_of(with_id(i)),
                              id));
    }
    if (dense) {
      dense_[id] = static_cast<std::uint32_t>(i);
    } else {
      sparse_.set(id, static_cast<std::uint32_t>(i));
    }
  }
}

std::int32_t Vocabulary::id_of(std::string_view token) const {
  if (slots_.empty()) return -1;
  return id_at(place(token, hash_of(token)));
}

std::vector<std::int32_t> Vocabulary::ids_of(const std::vector<std::string_view>& tokens) const {
  std::vector<std::int32_t> out(tokens.size(), -1);
  if (slots_.empty()) return out;
  std::vector<std::uint32_t> hashes(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) hashes[i] = hash_of(tokens[i]);
  // three loads that depend on one another: the slot, the token, its text
  const auto slot = [&](std::size_t i) { return slots_[hashes[i] & (slots_.size() - 1)]; };
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i + 3 * kAhead < tokens.size()) prefetch(hashes[i + 3 * kAhead]);
    if (i + 2 * kAhead < tokens.size()) {
      const Slot next = slot(i + 2 * kAhead);
      if (next.index != kNone) __builtin_prefetch(&tokens_[next.index]);
    }
    if (i + kAhead < tokens.size()) {
      const Slot next = slot(i + kAhead);
      if (next.index != kNone) __builtin_prefetch(text_.data() + tokens_[next.index].begin);
    }
    out[i] = id_at(place(tokens[i], hashes[i]));
  }
  return out;
}

std::optional<std::string_view> Vocabulary::token_of(std::int32_t id) const {
  if (id < 0) return std::nullopt;
  const auto key = static_cast<std::uint32_t>(id);
  const std::uint32_t* index = key < dense_.size() ? &dense_[key] : sparse_.find(key);
  if (index == nullptr || *index == kNone) return std::nullopt;
  return text_of(with_id(*index));
}

}  // namespace headscope::tokenizers
