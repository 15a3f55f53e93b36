#include "backend/native/paged_cache.h"

#include <cassert>
#include <cstring>
#include <limits>
#include <set>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::native {
namespace {

std::size_t PagesFor(std::size_t tokens) {
  return RoundUp(tokens, kPageTokens) / kPageTokens;
}

std::size_t CheckedBytes(std::size_t pages, std::size_t page_bytes) {
  if (pages > std::numeric_limits<std::size_t>::max() / 2 / page_bytes) {
    throw Error(ErrorCode::kCapacity, StrCat("A cache of ", pages, " pages of ", page_bytes,
                                             " bytes is more than memory can address. Lower max_cached_tokens."));
  }
  return pages * page_bytes;
}

}  // namespace

PagedCache::PagedCache(const ModelSpec& spec, CacheKind kind, std::size_t max_tokens, int max_sequences)
    : kind_(kind),
      kv_heads_(spec.kv_heads),
      padded_dim_(static_cast<int>(RoundUp(static_cast<std::size_t>(spec.head_dim), 16))),
      region_bytes_(static_cast<std::size_t>(kPageTokens) * static_cast<std::size_t>(padded_dim_) *
                    CacheElementBytes(kind)),
      page_bytes_(2 * region_bytes_ * static_cast<std::size_t>(spec.layers) * static_cast<std::size_t>(kv_heads_)),
      max_tokens_(max_tokens),
      max_sequences_(static_cast<std::size_t>(max_sequences)),
      max_pages_(PagesFor(max_tokens)),
      memory_(CheckedBytes(max_pages_, page_bytes_), "the key/value cache"),
      users_(max_pages_, 0) {
  free_.reserve(max_pages_);
}

std::size_t PagedCache::BytesPerToken(const ModelSpec& spec, CacheKind kind) {
  ModelSpec padded = spec;
  padded.head_dim = static_cast<int>(RoundUp(static_cast<std::size_t>(spec.head_dim), 16));
  return padded.CacheBytesPerToken(CacheElementBytes(kind));
}

SeqId PagedCache::Open(std::size_t max_tokens) {
  if (sequences_.size() >= max_sequences_) {
    throw Error(ErrorCode::kBusy, StrCat(sequences_.size(), " sequences are open, the most that max_batch = ",
                                         max_sequences_, " allows. Close one first."));
  }
  if (max_tokens > max_tokens_) {
    throw Error(ErrorCode::kCapacity, StrCat("A sequence of ", max_tokens, " tokens never fits: the cache holds ",
                                             max_tokens_, ". Raise max_cached_tokens."));
  }
  Sequence sequence;
  sequence.reserved = max_tokens;
  sequence.pages.reserve(PagesFor(max_tokens));
  const SeqId id = next_id_;
  sequences_.emplace(id, std::move(sequence));
  ++next_id_;
  return id;
}

void PagedCache::Close(SeqId seq) {
  Sequence& sequence = Get(seq);
  CutPages(sequence, 0);
  sequences_.erase(seq);
}

void PagedCache::Reorder(Span<const SeqId> from, Span<const SeqId> to) {
  if (from.size() != to.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("Reorder has ", from.size(), " sources and ", to.size(), " targets; they must pair up"));
  }
  std::set<SeqId> targets;
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (!targets.insert(to[i]).second) {
      throw Error(ErrorCode::kInvalidArgument, StrCat("Reorder names the target sequence ", to[i], " twice"));
    }
    const std::size_t length = Get(from[i]).length;
    if (length > Get(to[i]).reserved) {
      throw Error(ErrorCode::kCapacity, StrCat("Sequence ", from[i], " has ", length, " tokens, and sequence ", to[i],
                                               " reserved ", Get(to[i]).reserved, "."));
    }
  }
  std::vector<std::pair<std::vector<std::uint8_t*>, std::size_t>> taken;
  taken.reserve(from.size());
  for (const SeqId source : from) {
    const Sequence& sequence = Get(source);
    std::vector<std::uint8_t*> pages;
    pages.assign(sequence.pages.begin(),
                 sequence.pages.begin() + static_cast<std::ptrdiff_t>(PagesFor(sequence.length)));
    taken.emplace_back(std::move(pages), sequence.length);
  }
  // Nothing below can fail.
  for (const auto& [pages, length] : taken) {
    for (const std::uint8_t* page : pages) ++users_[IndexOf(page)];
  }
  for (std::size_t i = 0; i < to.size(); ++i) {
    Sequence& target = Get(to[i]);
    CutPages(target, 0);
    target.pages.assign(taken[i].first.begin(), taken[i].first.end());  // within the capacity reserved by Open
    target.length = taken[i].second;
  }
}

void PagedCache::Copy(SeqId from, SeqId to, std::size_t length) {
  const Sequence& source = Get(from);
  Sequence& target = Get(to);
  if (from == to) throw Error(ErrorCode::kInvalidArgument, StrCat("Sequence ", from, " cannot be copied to itself"));
  if (length > source.length || length > target.reserved) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat(length, " tokens cannot be copied: sequence ", from, " has ", source.length, ", and sequence ",
                       to, " may hold ", target.reserved));
  }
  const auto end = source.pages.begin() + static_cast<std::ptrdiff_t>(PagesFor(length));
  for (auto page = source.pages.begin(); page != end; ++page) ++users_[IndexOf(*page)];
  CutPages(target, 0);
  target.pages.assign(source.pages.begin(), end);  // within the capacity reserved by Open
  target.length = length;
}

void PagedCache::Truncate(SeqId seq, std::size_t length) {
  Sequence& sequence = Get(seq);
  if (length > sequence.length) {
    throw Error(ErrorCode::kInvalidArgument,
                StrCat("Sequence ", seq, " has ", sequence.length, " tokens and cannot be truncated to ", length));
  }
  CutPages(sequence, PagesFor(length));
  sequence.length = length;
}

std::size_t PagedCache::Length(SeqId seq) const {
  return Get(seq).length;
}
std::size_t PagedCache::Reserved(SeqId seq) const {
  return Get(seq).reserved;
}

void PagedCache::Prepare(SeqId seq, std::size_t tokens) {
  Sequence& sequence = Get(seq);
  assert(sequence.length + tokens <= sequence.reserved);
  const std::size_t first = sequence.length / kPageTokens;
  if (first < sequence.pages.size() && users_[IndexOf(sequence.pages[first])] > 1) {
    std::uint8_t* copy = TakePage();
    std::memcpy(copy, sequence.pages[first], page_bytes_);
    DropPage(sequence.pages[first]);
    sequence.pages[first] = copy;
  }
  while (sequence.pages.size() < PagesFor(sequence.length + tokens)) sequence.pages.push_back(TakePage());
}

void PagedCache::Unprepare(SeqId seq) {
  Sequence& sequence = Get(seq);
  CutPages(sequence, PagesFor(sequence.length));
}

void PagedCache::Commit(SeqId seq, std::size_t tokens) {
  Get(seq).length += tokens;
}

std::size_t PagedCache::KeysOffset(int layer, int head) const {
  const auto region =
      static_cast<std::size_t>(layer) * static_cast<std::size_t>(kv_heads_) + static_cast<std::size_t>(head);
  return 2 * region_bytes_ * region;
}

const PagedCache::Sequence& PagedCache::Get(SeqId seq) const {
  const auto found = sequences_.find(seq);
  if (found == sequences_.end()) {
    throw Error(ErrorCode::kInvalidArgument, StrCat("There is no open sequence ", seq));
  }
  return found->second;
}

PagedCache::Sequence& PagedCache::Get(SeqId seq) {
  return const_cast<Sequence&>(static_cast<const PagedCache*>(this)->Get(seq));
}

std::size_t PagedCache::IndexOf(const std::uint8_t* page) const {
  return static_cast<std::size_t>(page - memory_.data()) / page_bytes_;
}

std::uint8_t* PagedCache::TakePage() {
  std::uint8_t* page = nullptr;
  if (!free_.empty()) {
    page = free_.back();
    free_.pop_back();
  } else {
    if (next_fresh_ == max_pages_) {
      throw Error(ErrorCode::kBusy, StrCat("All ", max_pages_, " pages of the cache are in use. Close a sequence."));
    }
    page = memory_.data() + next_fresh_++ * page_bytes_;
  }
  users_[IndexOf(page)] = 1;
  return page;
}

void PagedCache::DropPage(std::uint8_t* page) {
  if (--users_[IndexOf(page)] == 0) free_.push_back(page);
}

void PagedCache::CutPages(Sequence& sequence, std::size_t keep) {
  while (sequence.pages.size() > keep) {
    DropPage(sequence.pages.back());
    sequence.pages.pop_back();
  }
}

}  // namespace skywork_rt::native
