#pragma once

#include <cstddef>
#include <string>

#include "train/draws.h"

namespace headscope::train::testing {

/// Russian and English sentences by chance, whose words agree: enough to learn a tokenizer and a tiny model from.
inline std::string sentences(std::size_t count, std::uint64_t seed) {
  const char* nouns[] = {"корол", "принц", "мастер", "сокол", "театр", "завод", "город", "голос"};
  const char* adjectives[] = {"стар", "молод", "умн", "красив", "добр", "нов"};
  const char* noun_endings[] = {"", "а", "у", "ом"};
  const char* adjective_endings[] = {"ый", "ого", "ому", "ым"};
  const char* verbs[] = {"видел", "знал", "любил", "искал"};
  const char* english[] = {"The old king walked to the castle and talked.",
                           "Two young masters looked at the birds.",
                           "She was walking in the garden, talking.",
                           "He wanted to visit the theatres."};
  std::string out;
  const auto pick = [&](const auto& list, std::uint64_t a, std::uint64_t b) {
    return list[below(draw(seed, a, b), std::size(list))];
  };
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 4 == 3) {
      out += pick(english, i, 0);
    } else {
      for (std::uint64_t phrase = 0; phrase < 2; ++phrase) {
        const std::size_t form = below(draw(seed, i, 90 + phrase), 4);
        out += std::string(pick(adjectives, i, phrase * 8 + 1)) + adjective_endings[form] + ' ' +
               pick(nouns, i, phrase * 8 + 2) + noun_endings[form] + ' ';
        if (phrase == 0)
          out += std::string(pick(verbs, i, 3)) + " в 18" + std::to_string(i % 90 + 10) + " ";
      }
      out.back() = i % 3 == 0 ? '!' : '.';
    }
    out += i % 5 == 4 ? '\n' : ' ';
  }
  return out;
}

}  // namespace headscope::train::testing
