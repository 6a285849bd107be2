#pragma once

#include <string>
#include <vector>

#include "cli/doctor.h"
#include "doctor/circuits.h"
#include "doctor/intervals.h"

/// `headscope head`: one page about one head.
namespace headscope::cli {

/// A link with the words around it.
struct LinkShown {
  double weight = 0.0;
  std::string row, key;                ///< what looks, and at what
  std::string before, between, after;  ///< around the two, in the order of the text
  bool key_first = true;               ///< the key stands before the row
};

struct PairShown {
  std::string from, to;
  double score = 0.0;
};

struct Portrait {
  doctor::HeadId id;
  std::string model, about;  ///< about: the data
  doctor::HeadRoles roles;
  double first_mass = 0.0;
  std::vector<LinkShown> links;
  std::vector<PairShown> writes, seeks;
  std::int64_t words = 0;                      ///< in circuits
  std::string no_circuits;                     ///< why there are none
  std::optional<doctor::Interval> zero, mean;  ///< harm without it: nats, or 1 - cosine
  std::string no_removal;
};

/// The words of a link in the order of the text, its two as they are to look.
std::string in_order(const LinkShown& link, const std::string& row, const std::string& key);

/// One self-contained page.
std::string portrait_page(const Portrait& head, Lang lang);

int head_verb(std::span<const std::string> arguments, Lang lang, std::string& out);

}  // namespace headscope::cli
