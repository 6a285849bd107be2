#pragma once

#include <optional>
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
  std::int32_t from_id = 0, to_id = 0;
  std::string from, to;  ///< visible
  double score = 0.0;
};

struct Portrait {
  doctor::HeadId id;
  std::string model, about;  ///< about: the data
  std::vector<Role> known;   ///< what the model's files say of this head
  doctor::HeadRoles roles;
  std::vector<TreeShown> trees;  ///< empty unless the data is a treebank
  std::string about_trees;
  double first_mass = 0.0;
  std::vector<LinkShown> links;
  std::vector<PairShown> writes, seeks;
  doctor::Circuits::Silence silence = doctor::Circuits::Silence::kNone;  ///< why it writes nothing
  bool rotary = false, by_distance = false;                              ///< left out of circuits
  std::int64_t words = 0;                                                ///< in circuits
  std::string no_circuits;                                               ///< why there are none
  bool foretells = false;                      ///< harm is nats of the loss; else 1 - cosine
  std::optional<doctor::Interval> zero, mean;  ///< harm without it
  std::string no_removal;
};

/// The words of a link in the order of the text, its two as they are to look.
std::string in_order(const LinkShown& link, const std::string& row, const std::string& key);
/// ".873 (evenly spread .0135, n 503)"; without the baseline where there is none.
std::string score_line(const Portrait& head, doctor::Measure measure, Lang lang);
/// ".61 (baseline .34, n 276)"
std::string score_line(const TreeShown& tree, Lang lang);
/// What is to be known of the circuits; more than one line.
std::vector<std::string> circuit_notes(const Portrait& head, Lang lang);
/// "what is lost without it, nats of the loss: ..."; "" : it was not taken away.
std::string removal_line(const Portrait& head, Lang lang);

/// What the terminal shows, one self-contained page, and everything.
std::string portrait_text(const Portrait& head, const Screen& screen);
std::string portrait_page(const Portrait& head, const Screen& screen);
std::string portrait_json(const Portrait& head);

int head_verb(std::span<const std::string> arguments, Lang lang, std::string& out);

}  // namespace headscope::cli
