"""Who may use the platform. One of them is the platform itself: scheduled work is done in the system user's name."""

import uuid

from sqlalchemy import Index, String, func, true
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Timestamped, UuidId, choice
from models.facts import kept_while_used, personal
from models.vocabularies import UserRole

SYSTEM_USER_ID = uuid.UUID("00000000-0000-0000-0000-000000000001")
"""The user that the migrations load: owner of sample rows and of everything no person asked for. It cannot log in."""


class User(Timestamped, Base):
    """A person or the system. Without a password hash there is no password login."""

    __tablename__ = "users"
    __table_args__ = ({"info": kept_while_used("audit columns refer to it")},)

    id: Mapped[UuidId]
    email: Mapped[str] = mapped_column(String(255), info=personal("contact"))
    password_hash: Mapped[str | None] = mapped_column(String(255), info=personal("credential"))
    first_name: Mapped[str] = mapped_column(String(100), info=personal("name"))
    last_name: Mapped[str] = mapped_column(String(100), info=personal("name"))
    role: Mapped[UserRole] = mapped_column(choice("role", UserRole), server_default="agent", index=True)
    is_active: Mapped[bool] = mapped_column(server_default=true(), index=True)


# Two spellings of one address are one account.
Index("idx_users_email", func.lower(User.email), unique=True)
